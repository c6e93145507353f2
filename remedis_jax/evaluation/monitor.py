"""What self-supervision has learned so far, measured on a few fixed images while it trains.

Without labels: effective rank and spread of the features, alignment and uniformity of two views,
and histograms of their similarities. With labels that the user names for this purpose: weighted
k-NN and a linear probe on features that no gradient flows into. The labels reach these numbers and
nothing else, and the artefact's card says that they were read.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from remedis_jax.augment import get_recipe
from remedis_jax.data.checking import check_rows
from remedis_jax.data.dataset import Dataset, open_evaluation, open_rows
from remedis_jax.data.labels import infer_label_spec
from remedis_jax.data.sources import ImageSource, SubsetSource, load_in_memory
from remedis_jax.data.splits import nested_subsets, split_by_group
from remedis_jax.errors import RunFailed, UserError
from remedis_jax.evaluation import representation
from remedis_jax.evaluation.embed import features_of
from remedis_jax.evaluation.histograms import HISTOGRAMS, write_histograms
from remedis_jax.models.bit import BiTSpec
from remedis_jax.training.metric_writers import write_failure

# ours: the share of training's passes through the encoder that monitoring may take. With what it
# computes on the host it stays below 2% of the time.
_SHARE = 0.015


# ours: measurements of a run, at most. More would show nothing more, and where steps are short for
# their number of images, as on a pod, the numpy part of a measurement is what costs.
_MEASUREMENTS = 50


def default_steps(
    images: int, labelled: int, batch_size: int, total_steps: int, views: int = 2
) -> int:
    """Steps between two measurements, so that they cost less than 2% of the training.

    Counted in forward passes: a measurement takes one for each labelled image and three for each
    other (as it is, and two views); a step about three for each view of each example. And at most
    50 measurements in a run.

    Args:
        images: Unlabelled images looked at.
        labelled: Labelled images looked at.
        batch_size: Examples of a step.
        total_steps: Of the run.
        views: Of an example.
    """
    by_cost = (3 * images + labelled) / (_SHARE * 3 * views * batch_size)
    return max(1, math.ceil(by_cost), math.ceil(total_steps / _MEASUREMENTS))


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """Images with a class each, cut by patient into those that vote and those that ask."""

    source: ImageSource
    labels: np.ndarray
    reference: np.ndarray
    query: np.ndarray


class Monitor:
    """Called as (params, mesh, step) by the training loop; see `training.loop.Evaluation`.

    Args:
        config: Of the run; the section `monitor` says what to look at.
        dataset: The run's training images.
        workdir: Where `histograms.jsonl` goes.
        total_steps: Of the run.

    Raises:
        UserError: The labelled rows cannot be used, or are held-out test rows.
        RunFailed: When called: features are not finite.
    """

    def __init__(self, config: ConfigDict, dataset: Dataset, workdir: Path, total_steps: int):
        settings, model, augment = config.monitor, config.model, config.augment
        self._encoder = BiTSpec.from_name(
            model.name, stem=model.stem, compute_dtype=model.compute_dtype
        )
        self._size = augment.size
        self._still = get_recipe("eval", **augment.evaluation)
        names = (augment.recipe, augment.second_recipe or augment.recipe)
        self._moving = tuple(get_recipe(name, **augment.options) for name in names)
        # Fixed images, spread over the pool; the same at every resume.
        order = np.random.Generator(np.random.Philox(0)).permutation(len(dataset))
        chosen = SubsetSource(dataset.source, np.sort(order[: settings.images]))
        # Decoded once, where the pool itself is decoded at each use.
        self._pool = load_in_memory(chosen) if dataset.decodes else chosen
        self._labelled = open_labelled(config) if settings.manifest else None
        labelled = len(self._labelled.labels) if self._labelled else 0
        self.every_steps = settings.steps or default_steps(
            len(self._pool), labelled, config.batch_size, total_steps
        )
        self._path = Path(workdir) / HISTOGRAMS
        # What the user is told about the labels that are read; "" for none.
        self.declared = ""
        if self._labelled:
            self.declared = (
                f"the monitor reads the column {settings.labels[0]!r} of {labelled} images for "
                "k-NN and a linear probe; no gradient comes from it"
            )

    def __call__(self, params: Any, mesh: Mesh, step: int) -> dict[str, float]:
        def features(source, recipe, seed=0):
            z = features_of(
                params["encoder"], source, encoder=self._encoder, recipe=recipe,
                size=self._size, mesh=mesh, seed=seed,
            )  # fmt: skip
            if not np.isfinite(z).all():
                raise RunFailed(
                    f"The features of the encoder are not finite at step {step}.",
                    "Lower optimizer.learning_rate, lengthen the warm-up, or check the weights "
                    "of config.init.",
                )
            return z

        still = features(self._pool, self._still)
        first, second = (
            features(self._pool, recipe, seed) for seed, recipe in enumerate(self._moving)
        )
        scores = {
            "rankme": representation.rankme(still),
            "feature_std": representation.embedding_std(still),
            "alignment": representation.alignment(first, second),
            "uniformity": representation.uniformity(first),
        }
        if jax.process_index() == 0:
            self._write_histograms(step, first, second)
        if self._labelled:
            z = features(self._labelled.source, self._still)
            parts = (self._labelled.reference, self._labelled.query)
            (reference, labels), (query, query_labels) = (
                (z[rows], self._labelled.labels[rows]) for rows in parts
            )
            given = (reference, labels, query, query_labels)
            scores |= representation.knn_scores(*given)
            scores |= representation.linear_probe_scores(*given)
        return scores

    def _write_histograms(self, step: int, first: np.ndarray, second: np.ndarray) -> None:
        edges, positive, negative = representation.similarity_histograms(first, second)
        row = {
            "step": step,
            "edges": np.round(edges, 6).tolist(),
            "positive": positive.tolist(),
            "negative": negative.tolist(),
        }
        try:
            write_histograms(self._path, row)
        except OSError as error:
            raise write_failure(self._path, error) from error


_COLUMNS = ("manifest", "image", "group", "labels", "allow_outside")

# ours: enough for the order of checkpoints, few enough to be looked at often.
_LABELLED_IMAGES = 512


def open_labelled(config: ConfigDict) -> Labelled:
    """The labelled images of `config.monitor`, or as many whole patients as make 512 of them.

    Raises:
        UserError: They cannot be used, or are among the data that the run holds out.
    """
    settings = config.monitor
    if len(settings.labels) != 1:
        raise UserError(
            f"monitor.labels names {len(settings.labels)} columns.", "Name the one with the class."
        )
    data = config.data.copy_and_resolve_references()
    with data.unlocked():
        data.update({name: settings[name] for name in _COLUMNS})
        data.site = data.split = data.case = ""
        data.classes = ()
    where = settings.where.to_dict() or None
    check_rows(open_rows(data, where), data, "the monitor's labels")
    spec = infer_label_spec(open_rows(data), kind="softmax")
    dataset = open_evaluation(data, spec, where)
    strata = [str(label) for label in dataset.labels]
    groups = list(dataset.manifest.groups)
    chosen = np.arange(len(dataset))
    share = _LABELLED_IMAGES / len(dataset)
    if share < 1:
        chosen = nested_subsets(groups, strata, [share], 0)[share]
    parts = split_by_group(
        [groups[i] for i in chosen],
        [strata[i] for i in chosen],
        {"reference": 0.5, "query": 0.5},
        seed=0,
    )
    return Labelled(
        SubsetSource(dataset.source, chosen), dataset.labels[chosen], **parts
    )
