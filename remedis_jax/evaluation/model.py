"""Weights in use: `remedis_jax.load(W)`, then `.embed(images)` and `.predict(images)`."""

import dataclasses
import functools
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from remedis_jax.errors import UserError
from remedis_jax.evaluation.batch_size import choose_batch_size
from remedis_jax.evaluation.predict import classifier_of, classifier_params
from remedis_jax.models.bit import BiT, BiTSpec
from remedis_jax.training.sharding import jit_forward, make_mesh, put_batch, put_replicated
from remedis_jax.weights.architecture import encoder_spec
from remedis_jax.weights.artifact import Artifact
from remedis_jax.weights.contract import Contract
from remedis_jax.weights.open import open_weights

Image = bytes | str | os.PathLike | np.ndarray
Images = Sequence[Image] | np.ndarray
Progress = Callable[[int, int], None]
# "highest": float32 products on every device. "default": what the device does fastest, TF32 on
# NVIDIA and bfloat16 passes on TPU, with about three digits.
PRECISIONS = ("highest", "default")


@functools.lru_cache(maxsize=16)
def embedder(
    encoder: BiTSpec, contract: Contract, mesh: Mesh, precision: str = "highest", pool: bool = True
) -> Callable:
    """The compiled function (encoder's params, prepared images [B, h, w, C]) -> features [B, F]."""

    def features(params, images):
        with jax.default_matmul_precision(precision):
            return BiT(encoder).apply({"params": params}, contract.to_network(images), pool=pool)

    return jit_forward(features, mesh)


class Model:
    """A network with its weights, its preprocessing contract and perhaps its classifier.

    Example:
        >>> model = remedis_jax.load("runs/ssl")
        >>> features = model.embed(["a.png", "b.png"])

    Args:
        artifact: The weights.
        devices: How many of the devices to use; None for all.
        precision: One of `PRECISIONS`.

    Attributes:
        card: The artefact's card.
        sha256: The artefact's hash.
        contract: What is done to an image before the network.
        spec: The network.
        params: Its parameters, on the devices.
        classes: Of the classifier; empty without one.
        kind: "softmax" or "sigmoid"; None without a classifier.
        calibrated: Whether the probabilities are divided by a temperature that was fitted on
            validation data.

    Raises:
        UserError: Fewer devices, or an unknown precision.
    """

    def __init__(
        self, artifact: Artifact, *, devices: int | None = None, precision: str = "highest"
    ):
        if precision not in PRECISIONS:
            raise UserError(
                f"There is no precision {precision!r}.", f"Use {' or '.join(PRECISIONS)}."
            )
        self.card = artifact.card
        self.sha256 = artifact.sha256
        self.contract = Contract.from_json(artifact.card["preprocessing"])
        self.spec = encoder_spec(artifact.card)
        self.mesh = make_mesh(devices)
        self.precision = precision
        head = artifact.card["head"]
        self.classes: tuple[str, ...] = tuple(head["classes"]) if head else ()
        self.kind: str | None = head["kind"] if head else None
        self.calibrated = bool(head and head.get("temperature"))
        given = {"encoder": artifact.params["encoder"]}
        if head:
            given = classifier_params(artifact.params, artifact.card)
        self.params = put_replicated(given, self.mesh)
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1)

    @functools.cached_property
    def batch_size(self) -> int:
        """Images at a time by default: what this machine's memory is good for."""
        return choose_batch_size(self.spec, self.contract.size, self.mesh)

    def embed(
        self, images: Images, *, batch_size: int | None = None, progress: Progress | None = None
    ) -> np.ndarray:
        """Pooled features of images.

        Args:
            images: A sequence of paths, bytes of image files, or pixels uint8 or uint16 [H, W],
                [H, W, 1], [H, W, 3], and uint8 [H, W, 4]; or one array [N, H, W, C] of such.
                Everything else that the contract does not cover, such as floats, is refused.
            batch_size: At a time; a multiple of the number of devices. Chosen if None.
            progress: Called with (done, total).

        Returns:
            float32 [N, contract.output_dim], in the order of the images.

        Raises:
            UserError: An image breaks the contract; it is named.
        """
        forward = embedder(self.spec, self.contract, self.mesh, self.precision)
        return self._through(
            lambda batch: forward(self.params["encoder"], batch), images, batch_size, progress
        )

    def feature_map(self, images: Images, *, batch_size: int | None = None) -> np.ndarray:
        """The features before pooling: float32 [N, h, w, contract.output_dim]; else as `embed`."""
        forward = embedder(self.spec, self.contract, self.mesh, self.precision, pool=False)
        return self._through(
            lambda batch: forward(self.params["encoder"], batch), images, batch_size, None
        )

    def predict(
        self, images: Images, *, batch_size: int | None = None, progress: Progress | None = None
    ) -> np.ndarray:
        """Probabilities of the classes, or the risk; images as for `embed`.

        Every image is judged by itself, also by a classifier of cases; `remedis_jax.evaluate`
        takes the images of a case together.

        Returns:
            float32 [N, len(classes)], calibrated where `self.calibrated`.

        Raises:
            UserError: There is no classifier, or one that reads several views of a case together;
                or an image breaks the contract.
        """
        forward = classifier_of(self.card, self.mesh)
        return self._through(
            lambda batch: forward(self.params, batch), images, batch_size, progress
        )

    def _through(
        self,
        forward: Callable[[jax.Array], jax.Array],
        images: Images,
        batch_size: int | None,
        progress: Progress | None,
    ) -> np.ndarray:
        if isinstance(images, str | bytes | os.PathLike):
            raise UserError(
                "One image was given where a sequence is expected.", "Write [image] for one."
            )
        if isinstance(images, np.ndarray) and (
            images.ndim != 4 or images.dtype not in (np.uint8, np.uint16)
        ):
            raise UserError(
                f"An array of shape {images.shape} and type {images.dtype} is no batch of images.",
                "Pass uint8 or uint16 [N, H, W, C] of full range, or a list of images.",
            )
        if len(images) == 0:
            raise UserError("There are no images.", "Pass at least one.")
        size = self.whole_batch(min(batch_size or self.batch_size, len(images)))
        rows, done = [], 0
        for prepared in self._prepared(images, size):
            wanted = min(size, len(images) - done)
            outputs = forward(put_batch({"image": prepared}, self.mesh)["image"])
            rows.append(np.asarray(outputs)[:wanted])
            done += wanted
            if progress is not None:
                progress(done, len(images))
        return np.concatenate(rows)

    def whole_batch(self, size: int) -> int:
        """The next multiple of the number of devices."""
        devices = self.mesh.shape["data"]
        return -(-size // devices) * devices

    def _prepared(self, images: Images, size: int) -> Iterator[np.ndarray]:
        """Batches for `Contract.to_network`; the next one is prepared while one is computed."""

        def one(index: int) -> np.ndarray:
            image = images[index]
            path = isinstance(image, str | os.PathLike)
            return self.contract.prepare(image, None if path else f"image {index}")

        def whole(futures: list[Future]) -> np.ndarray:
            batch = np.stack([future.result() for future in futures])
            # The last batch is filled up, so that one program serves all.
            return np.pad(batch, [(0, size - len(batch)), (0, 0), (0, 0), (0, 0)])

        ahead: deque[list[Future]] = deque()
        for start in range(0, len(images), size):
            rows = range(start, min(start + size, len(images)))
            ahead.append([self._pool.submit(one, index) for index in rows])
            if len(ahead) > 1:
                yield whole(ahead.popleft())
        while ahead:
            yield whole(ahead.popleft())


def load(
    weights: str | Path,
    *,
    devices: int | None = None,
    precision: str = "highest",
    dont_load: Sequence[str] = (),
) -> Model:
    """Weights, ready to use.

    Args:
        weights: A weights file, the folder of a finished run, a name from `remedis models`, or a
            location (file:, https:, gs:, hf:).
        devices: How many of the devices to use; None for all.
        precision: "highest" or "default"; see `PRECISIONS`.
        dont_load: As for `remedis_jax.weights.artifact.load_artifact`; a network needs its whole
            encoder, so only the head can be left out here.

    Returns:
        The model.

    Raises:
        UserError: The weights cannot be found or used.
    """
    artifact = open_weights(weights, dont_load=dont_load)
    if artifact.card["head"] is not None and "head" not in artifact.params:
        artifact = dataclasses.replace(artifact, card=artifact.card | {"head": None})
    return Model(artifact, devices=devices, precision=precision)
