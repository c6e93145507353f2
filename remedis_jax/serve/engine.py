"""The network behind the service: batches of a few sizes, compiled before the first request."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from remedis_jax.errors import UserError
from remedis_jax.evaluation.model import Model, embedder
from remedis_jax.evaluation.predict import classifier_of
from remedis_jax.training.sharding import put_batch

# ours: one request, some, and as many as wait. Cut to what the machine's memory is good for.
BATCH_SIZES = (1, 8, 32)


class Engine:
    """Runs prepared images through a model.

    Args:
        model: As from `remedis_jax.load`.

    Raises:
        UserError: The classifier reads several views of a case, or predicts a risk.

    Attributes:
        model: The same.
        sizes: Numbers of images for which there is a program, ascending.
        outputs: What can be asked for: "embed", and "predict" where there is a classifier.
    """

    def __init__(self, model: Model):
        self.model = model
        self.sizes = sorted(
            {model.whole_batch(min(size, model.batch_size)) for size in BATCH_SIZES}
        )
        embed = embedder(model.spec, model.contract, model.mesh, model.precision)
        self._forward: dict[str, Callable[[jax.Array], jax.Array]] = {
            "embed": lambda images: embed(model.params["encoder"], images)
        }
        if model.kind == "survival":
            raise UserError(
                "These weights predict a risk over time, and the service answers with "
                "probabilities of classes.",
                "Predict with remedis evaluate, or serve the weights that they were tuned from.",
            )
        if model.classes:
            predict = classifier_of(model.card, model.mesh)
            self._forward["predict"] = lambda images: predict(model.params, images)
        self.outputs = tuple(self._forward)

    def prepare(self, data: bytes, name: str) -> np.ndarray:
        """One image file by the model's contract; raises UserError where that refuses it."""
        return self.model.contract.prepare(data, name)

    def run(self, output: str, images: Sequence[np.ndarray]) -> np.ndarray:
        """Computes one batch.

        Args:
            output: One of `outputs`.
            images: At most the largest of `sizes`, as from `prepare`.

        Returns:
            float32 [len(images), features or classes].
        """
        size = next(size for size in self.sizes if size >= len(images))
        batch = np.stack([*images, *[images[-1]] * (size - len(images))])
        on_devices = put_batch({"image": batch}, self.model.mesh)["image"]
        return np.asarray(self._forward[output](on_devices))[: len(images)]

    def warm_up(self, announce: Callable[[str], None]) -> None:
        """Compiles every program, so that no request waits for that."""
        contract = self.model.contract
        side = contract.host.size
        black = np.zeros((side, side, contract.channels), contract.dtype)
        for output in self.outputs:
            for size in self.sizes:
                announce(f"compiling {output} for {size} image(s)")
                self.run(output, [black] * size)
