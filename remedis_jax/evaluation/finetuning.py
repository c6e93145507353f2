"""A supervised run with all that belongs to it: cases, validation, selection, frozen features."""

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from remedis_jax.data.checking import StageCheck
from remedis_jax.data.dataset import Dataset, open_evaluation, open_training
from remedis_jax.data.sources import InMemorySource
from remedis_jax.evaluation.metrics import LOWER_IS_BETTER, check_metric
from remedis_jax.evaluation.predict import features_of
from remedis_jax.evaluation.scorable import require_scorable
from remedis_jax.evaluation.validation import validation_evaluator
from remedis_jax.objectives.supervised import label_kind
from remedis_jax.training import processes
from remedis_jax.training.build import build, make_plan
from remedis_jax.training.card import make_card
from remedis_jax.training.class_balance import class_weights_of
from remedis_jax.training.loop import Evaluation, Result, initial_params, train
from remedis_jax.training.selection import Selection
from remedis_jax.training.sharding import make_mesh
from remedis_jax.weights.artifact import Artifact, flatten

Progress = Callable[[int, int], None]


def finetune(
    config: ConfigDict,
    workdir: Path,
    *,
    check: StageCheck | None,
    parent: Artifact | None,
    skip: Collection[str] = (),
    title: str = "",
    announce: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> tuple[Result, Dataset]:
    """Runs a supervised stage, or goes on with it.

    Args:
        config: Of a supervised stage.
        workdir: As for `training.loop.train`.
        check: As there.
        parent: As there.
        skip: Names of images that are left out.
        title: As there.
        announce: As there.
        progress: Called with (done, total) while the features of a frozen encoder are made.

    Returns:
        What the run left, and its training rows.

    Raises:
        UserError: The config or the data cannot be used; among it, validation rows by which nothing
            can be selected.
        RunFailed: As there.
    """
    kind = label_kind(config.objective.kind)
    if config.select_metric:
        check_metric(config.select_metric, kind)
    selection = Selection.of(config, frozenset(LOWER_IS_BETTER))
    dataset = open_training(config.data, kind, skip)
    validation = None
    if config.data.validation:
        where = config.data.validation.to_dict()
        validation = open_evaluation(config.data, dataset.spec, where, skip)
        if selection is not None:
            require_scorable(
                validation.example_labels,
                dataset.spec,
                "the validation rows",
                groups=validation.example_groups,
                metric=selection.metric.removeprefix("validation_"),
                horizon=float(config.objective.horizon),
            )
    _say_what_is_lost(skip, dataset, announce)
    if makes_features_once(config) and not (Path(workdir) / "result.json").is_file():
        dataset, validation = _embedded(config, dataset, validation, parent, announce, progress)
    evaluations = {}
    if validation is not None:
        card = make_card(config, dataset, None, 0)
        evaluations["validation"] = Evaluation(validation_evaluator(validation, card))
    result = train(
        config,
        workdir,
        dataset,
        check=check,
        parent=parent,
        evaluations=evaluations,
        selection=selection,
        title=title,
        announce=announce,
    )
    return result, dataset


def makes_features_once(config: ConfigDict) -> bool:
    """Whether an image has the same features at every visit, so that they are made once."""
    return config.freeze == "encoder" and config.augment.recipe == "eval"


def _embedded(
    config: ConfigDict,
    dataset: Dataset,
    validation: Dataset | None,
    parent: Artifact | None,
    announce: Callable[[str], None],
    progress: Progress | None,
) -> tuple[Dataset, Dataset | None]:
    """The same data sets with features in place of pixels."""
    mesh = make_mesh(config.devices or None)
    plan = make_plan(config, dataset.examples)
    built = build(config, plan, mesh, dataset.classes, class_weights_of(config, dataset))
    params = initial_params(config, built.objective, dataset.source.image_shape, parent)
    card = make_card(config, dataset, parent, 0)
    content = hashlib.sha256()
    for name, values in sorted(flatten(params["encoder"]).items()):
        content.update(name.encode() + np.ascontiguousarray(values).tobytes())
    if processes.is_first():
        total = len(dataset) + (0 if validation is None else len(validation))
        announce(f"the encoder is frozen: features of {total:,} images are made once")

    def embedded(images: Dataset) -> Dataset:
        features = features_of(params, card, images, mesh, progress=progress)
        digest = hashlib.sha256(
            (images.source.digest + content.hexdigest()).encode()
        ).hexdigest()
        source = InMemorySource(features[:, None, None, :], digest)
        return Dataset(
            images.manifest, source, images.labels, images.spec, cases=images.cases, embedded=True
        )

    return embedded(dataset), None if validation is None else embedded(validation)


def _say_what_is_lost(
    skip: Collection[str], dataset: Dataset, announce: Callable[[str], None]
) -> None:
    """Says how many cases still have an image, where some images cannot be used."""
    if skip and dataset.cases is not None and processes.is_first():
        announce(
            f"{len(skip):,} image(s) are left out; {len(dataset.cases):,} case(s) still have "
            "an image to train on"
        )
