"""The explanations of chosen images or cases, a batch at a time."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from remedis_jax.data.sources import ImageSource
from remedis_jax.evaluation.explained_examples import Example
from remedis_jax.evaluation.model import Model
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.saliency import Method, Network, explainer
from remedis_jax.evaluation.saliency_check import DRAWS, map_correlation, randomised_head
from remedis_jax.training.sharding import put_batch, put_replicated

Progress = Callable[[int, int], None]
# Going backward, activations of all units are kept: ours, an eighth of a batch going forward.
_SMALLER = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """What a method says of one example.

    Attributes:
        example: Whose score it is.
        maps: float32 [V, h, w], one per image, in units of the score.
        seen: float32 [V, H, W, 3] in [0, 1], what the network read.
        target: Position of the class that is explained.
        score: Its logit; of survival the log hazard or the risk.
        p: Its probability, calibrated where the weights are; of survival the score.
        difference: Score of the images minus that of the baselines; None without a baseline.
        gap: Sum of the maps minus `difference`; None without a baseline.
        correlations: With the maps of the same example under randomised heads; () if not asked for.
    """

    example: Example
    maps: np.ndarray
    seen: np.ndarray
    target: int
    score: float
    p: float
    difference: float | None = None
    gap: float | None = None
    correlations: tuple[float | NotDefined, ...] = ()

    @property
    def relative_gap(self) -> float | NotDefined:
        """|gap| as a share of |difference|."""
        if self.gap is None:
            return NotDefined("the method has no baseline")
        if not self.difference:
            return NotDefined("the score does not differ from that of the baseline")
        return abs(self.gap / self.difference)


@dataclasses.dataclass(frozen=True, eq=False)
class Explanations:
    """What was explained, and how.

    Attributes:
        each: At least one.
        classes: Of the classifier.
        kind: "softmax", "sigmoid" or "survival".
        method: With which they were made.
        chosen: How the examples were chosen, a sentence.
        weights: Name and SHA-256 of the weights.
        sanity: Whether heads were randomised.
        seed: Of the randomised heads.
    """

    each: Sequence[Explanation]
    classes: Sequence[str]
    kind: str
    method: Method
    chosen: str
    weights: tuple[str, str]
    sanity: bool = False
    seed: int = 0

    @property
    def unit(self) -> str:
        return "of score" if self.kind == "survival" else "logit"


def explain_examples(
    model: Model,
    source: ImageSource,
    examples: Sequence[Example],
    method: Method,
    *,
    sanity: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Explanation]:
    """Explains every example, in their order.

    Args:
        model: Weights with a classifier.
        source: Images prepared by the model's contract; `Example.images` are positions in it.
        examples: At least one.
        method: See `saliency`.
        sanity: Also compare the maps with those of `saliency_check.DRAWS` randomised heads.
        seed: Of the randomised heads.
        progress: Called with (done, total), counting examples and heads.
    """
    network = Network.of(model.card)
    # A case has room for the largest, so that one program serves all.
    room = network.head.places or max(len(example.images) for example in examples)
    size = min(len(examples), max(1, model.batch_size // (_SMALLER * room)))
    run = explainer(network, method, model.mesh)
    total, done = len(examples) * (1 + DRAWS * sanity), 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    found: list[Explanation] = []
    for chosen, batch in _batches(model, source, examples, room, size):
        answers = jax.device_get(run(model.params, put_batch(batch, model.mesh)))
        some = [_of_row(example, answers, row) for row, example in enumerate(chosen)]
        found += some
        tick(len(some))
    if not sanity:
        return found
    # Head by head, so that each is brought to the device once. The class stays the same.
    explained = [dataclasses.replace(f.example, target=f.target) for f in found]
    correlations: list[list[float | NotDefined]] = [[] for _ in found]
    for draw in range(DRAWS):
        head = randomised_head(jax.device_get(model.params["head"]), seed + draw)
        params = model.params | {"head": put_replicated(head, model.mesh)}
        place = 0
        for chosen, batch in _batches(model, source, explained, room, size):
            answers = jax.device_get(run(params, put_batch(batch, model.mesh)))
            for row, example in enumerate(chosen):
                maps = answers["maps"][row][example.places]
                correlations[place].append(map_correlation(found[place].maps, maps))
                place += 1
            tick(len(chosen))
    return [
        dataclasses.replace(f, correlations=tuple(c))
        for f, c in zip(found, correlations, strict=True)
    ]


def _batches(
    model: Model, source: ImageSource, examples: Sequence[Example], room: int, size: int
) -> Iterator[tuple[Sequence[Example], dict[str, np.ndarray]]]:
    """Batches of one shape, the last one filled up with the first of its examples."""
    size = model.whole_batch(size)
    for start in range(0, len(examples), size):
        chosen = examples[start : start + size]
        images = np.zeros((size, room, *source.image_shape), source.dtype)
        mask = np.zeros((size, room), bool)
        classes = np.zeros(size, np.int32)
        for row in range(size):
            example = chosen[row if row < len(chosen) else 0]
            if row < len(chosen):
                images[row, example.places] = source.gather(example.images)
            mask[row, example.places] = True
            classes[row] = example.target
        yield chosen, {"images": images, "mask": mask, "classes": classes}


def _of_row(example: Example, answers: dict[str, np.ndarray], row: int) -> Explanation:
    target = int(answers["classes"][row])
    with_baseline = {
        name: float(answers[name][row]) for name in ("difference", "gap") if name in answers
    }
    return Explanation(
        example,
        answers["maps"][row][example.places],
        answers["seen"][row][example.places],
        target,
        float(answers["scores"][row, target]),
        float(answers["p"][row, target]),
        **with_baseline,
    )
