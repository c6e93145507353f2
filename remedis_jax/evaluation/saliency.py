"""Which places of an image a classifier's score rests on: Grad-CAM and integrated gradients.

Both are pure functions of weights and images. What is explained is the score of one class: the
logit before any temperature (Selvaraju et al. 2017 and Sundararajan et al. 2017 take it before the
softmax as well), and of survival the log hazard or the risk at the horizon. A case of several
images is explained through its pooling, so that every image has its own map of the case's score.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from remedis_jax.augment.blur import gaussian_band
from remedis_jax.errors import UserError
from remedis_jax.evaluation.predict import Output, require_head
from remedis_jax.models.bit import UNITS, BiT, BiTSpec
from remedis_jax.models.case_head import CaseHead, HeadSpec, head_spec
from remedis_jax.training.sharding import jit_forward
from remedis_jax.weights.architecture import encoder_spec
from remedis_jax.weights.contract import Contract

# The map that is pooled, and the sums that the four stages end with.
LAYERS = ("final", *(f"block{number}" for number in range(1, len(UNITS[50]) + 1)))
BASELINES = ("black", "blurred")
# ours; Sundararajan et al. 2017 find 20 to 300 enough.
STEPS = 64
# Of the score's difference (Sundararajan et al. 2017, section 5).
LARGEST_GAP = 0.05
# ours: a tenth of the side leaves no texture, and where it is light and dark.
_BLUR = 0.1


@dataclasses.dataclass(frozen=True)
class Network:
    """What turns prepared images into scores; everything that decides the arithmetic.

    Attributes:
        encoder: Which BiT.
        contract: What is left to do to prepared images.
        head: Which classifier.
        output: What the classifier's logits become.
    """

    encoder: BiTSpec
    contract: Contract
    head: HeadSpec
    output: Output

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> "Network":
        """That of an artefact's card.

        Raises:
            UserError: The weights have no classifier.
        """
        head = require_head(card)
        contract = Contract.from_json(card["preprocessing"])
        return cls(encoder_spec(card), contract, head_spec(head), Output.of(head))

    def seen(self, images: jax.Array) -> jax.Array:
        """Prepared images [B, V, h, w, C] as the encoder reads them, float32 [B * V, H, W, 3]."""
        return self.contract.to_network(images.reshape(-1, *images.shape[2:]))

    def feature_map(self, params: Any, seen: jax.Array) -> jax.Array:
        """The map before pooling, float32 [B * V, h, w, F]."""
        return BiT(self.encoder).apply({"params": params["encoder"]}, seen, pool=False)

    def logits(self, params: Any, feature_map: jax.Array, mask: jax.Array) -> jax.Array:
        """From the maps of all images [B * V, h, w, F] and which are there [B, V]: [B, outputs]."""
        features = feature_map.mean(axis=(1, 2)).reshape(*mask.shape, -1)
        return CaseHead(self.head).apply({"params": params["head"]}, features, mask)

    def scores(self, logits: jax.Array) -> jax.Array:
        """What is explained, float32 [B, K]."""
        return logits if self.output.kind in ("softmax", "sigmoid") else self.output(logits)


Batch = Mapping[str, jax.Array]
Explained = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class GradCam:
    """Grad-CAM: ReLU(sum_k a_k A^k), a_k the mean over places of d score / d A^k.

    Selvaraju et al. 2017, equations 1 and 2. With mean pooling and a linear head a_k is the head's
    weight divided by the number of places (and of images of a case), and the map before the ReLU
    sums to the score less the bias: the class activation map of Zhou et al. 2016.

    Attributes:
        layer: "final", the map after the last GroupNorm and ReLU (before them where the encoder
            ends there); or "block1" to "block4", the sums that a stage of units ends with, which
            have more places and are farther from the score.

    Raises:
        UserError: There is no such layer.

    Call:
        network: See `Network`.
        params: Encoder, head and temperature, as from `predict.classifier_params`.
        batch: `images` [B, V, h, w, C] prepared by the contract, `mask` bool [B, V] which of them
            are there, `classes` int32 [B] whose score is explained, -1 for the one with the
            highest.

    Returns:
        maps: float32 [B, V, h, w], 0 or more, in units of the score per place.
        seen: float32 [B, V, H, W, 3] in [0, 1], what the network read.
        classes: int32 [B].
        scores: float32 [B, K].
        p: float32 [B, K], the calibrated probabilities; of survival the scores.
    """

    layer: str = "final"

    def __post_init__(self) -> None:
        if self.layer not in LAYERS:
            raise UserError(f"There is no layer {self.layer!r}.", f"Use {', '.join(LAYERS)}.")

    def __call__(self, network: Network, params: Any, batch: Batch) -> Explained:
        seen, mask = network.seen(batch["images"]), batch["mask"]
        if self.layer == "final":
            activations = network.feature_map(params, seen)
            tail = functools.partial(network.logits, params, mask=mask)
        else:
            activations, tail = self._cut(network, params, seen, mask)
        logits, backward = jax.vjp(tail, activations)
        classes = _classes(network, logits, batch["classes"])
        (gradients,) = backward(_cotangent(network, logits, classes))
        weights = gradients.mean(axis=(1, 2), keepdims=True)
        maps = nn.relu((weights * activations).sum(axis=-1)).reshape(*mask.shape, *_hw(activations))
        return {"maps": maps} | _answers(network, params, seen, mask, classes, logits)

    def _cut(
        self, network: Network, params: Any, seen: jax.Array, mask: jax.Array
    ) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
        """The sums that the layer ends with, and the function from them to the logits."""

        def run(put: jax.Array | None) -> tuple[jax.Array, jax.Array]:
            met = []

            def meet(call, args, kwargs, context):
                result = call(*args, **kwargs)
                if context.module.path == (self.layer,) and context.method_name == "__call__":
                    result = result if put is None else put.astype(result.dtype)
                    met.append(result)
                return result

            with nn.intercept_methods(meet):
                logits = network.logits(params, network.feature_map(params, seen), mask)
            return logits, met[0].astype(jnp.float32)

        return run(None)[1], lambda activations: run(activations)[0]


@dataclasses.dataclass(frozen=True)
class IntegratedGradients:
    """Integrated gradients: (x - x') times the mean gradient of the score between x' and x.

    Sundararajan et al. 2017, equation 1, by the midpoint rule, which leaves a smaller gap than
    their equation 3 for the same number of gradients.

    Attributes:
        baseline: The x' that has nothing to tell: "black", or "blurred", the image with a Gaussian
            of a tenth of its side (ours).
        steps: Gradients per image.

    Raises:
        UserError: There is no such baseline, or no step.

    Call: As `GradCam`.

    Returns:
        As `GradCam`, with maps [B, V, H, W] that have both signs, summed over the channels; and
        difference: float32 [B], score(x) - score(x').
        gap: float32 [B], sum of the maps of an example - difference; 0 were the steps infinite.
    """

    baseline: str = "black"
    steps: int = STEPS

    def __post_init__(self) -> None:
        if self.baseline not in BASELINES:
            raise UserError(
                f"There is no baseline {self.baseline!r}.", f"Use {' or '.join(BASELINES)}."
            )
        if self.steps < 1:
            raise UserError(f"{self.steps} steps are impossible.", "Use 1 or more.")

    def __call__(self, network: Network, params: Any, batch: Batch) -> Explained:
        seen, mask = network.seen(batch["images"]), batch["mask"]
        start = self.starts(seen, network.encoder.value_range[0])

        def logits_of(images: jax.Array) -> jax.Array:
            return network.logits(params, network.feature_map(params, images), mask)

        def step(carried, at):
            total, classes = carried
            t, weight = at
            logits, backward = jax.vjp(logits_of, start + t * (seen - start))
            classes = _classes(network, logits, classes)
            (gradient,) = backward(_cotangent(network, logits, classes))
            return (total + weight * gradient, classes), logits

        # The image and its baseline go the same way, without weight, so that the network is
        # compiled once; the image first, since it says which class has the highest score.
        middle = (jnp.arange(self.steps, dtype=jnp.float32) + 0.5) / self.steps
        t = jnp.concatenate([jnp.array([1.0, 0.0]), middle])
        weight = jnp.concatenate([jnp.zeros(2), jnp.full_like(middle, 1 / self.steps)])
        (total, classes), logits = lax.scan(
            step, (jnp.zeros_like(seen), batch["classes"]), (t, weight)
        )
        maps = ((seen - start) * total).sum(axis=-1).reshape(*mask.shape, *_hw(seen))
        at_image, at_baseline = (
            jnp.take_along_axis(network.scores(logits[i]), classes[:, None], axis=1)[:, 0]
            for i in (0, 1)
        )
        difference = at_image - at_baseline
        return {
            "maps": maps,
            "difference": difference,
            "gap": maps.sum(axis=(1, 2, 3)) - difference,
        } | _answers(network, params, seen, mask, classes, logits[0])

    def starts(self, seen: jax.Array, black: float) -> jax.Array:
        """The baselines of images float32 [N, H, W, 3]."""
        if self.baseline == "black":
            return jnp.full_like(seen, black)

        def kernel(size: int) -> jax.Array:
            sigma = _BLUR * size
            band = gaussian_band(size, sigma, int(3 * sigma))
            # At a border the pixels that are there count in place of those beyond it.
            return band / band.sum(axis=1, keepdims=True)

        rows, columns = (kernel(size) for size in _hw(seen))
        return jnp.einsum("ij,njkc,lk->nilc", rows, seen, columns, precision="highest")


Method = GradCam | IntegratedGradients


@functools.lru_cache(maxsize=16)
def explainer(network: Network, method: Method, mesh: Mesh) -> Callable[[Any, Batch], Explained]:
    """The compiled function (params, batch) -> what the method returns; once for each shape."""

    def explained(params: Any, batch: Batch) -> Explained:
        with jax.default_matmul_precision("highest"):
            return method(network, params, batch)

    return jit_forward(explained, mesh)


def _hw(images: jax.Array) -> tuple[int, int]:
    return images.shape[1], images.shape[2]


def _classes(network: Network, logits: jax.Array, classes: jax.Array) -> jax.Array:
    best = network.scores(logits).argmax(axis=1).astype(jnp.int32)
    return jnp.where(classes < 0, best, classes)


def _cotangent(network: Network, logits: jax.Array, classes: jax.Array) -> jax.Array:
    """d score / d logits, [B, outputs]."""

    def chosen(logits: jax.Array) -> jax.Array:
        return jnp.take_along_axis(network.scores(logits), classes[:, None], axis=1).sum()

    return jax.grad(chosen)(logits)


def _answers(
    network: Network,
    params: Any,
    seen: jax.Array,
    mask: jax.Array,
    classes: jax.Array,
    logits: jax.Array,
) -> Explained:
    low, high = network.encoder.value_range
    return {
        "seen": ((seen - low) / (high - low)).reshape(*mask.shape, *seen.shape[1:]),
        "classes": classes,
        "scores": network.scores(logits),
        "p": network.output(logits / params["temperature"]),
    }
