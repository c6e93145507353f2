"""From a config to the objective, the schedule, the optimiser and the compiled step."""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from remedis_jax.augment import get_recipe
from remedis_jax.errors import UserError
from remedis_jax.models.bit import BiTSpec
from remedis_jax.models.case_head import HeadSpec
from remedis_jax.objectives.interface import Objective
from remedis_jax.objectives.methods import METHODS
from remedis_jax.objectives.options import check_options
from remedis_jax.objectives.supervised import Supervised, label_kind, outputs_of
from remedis_jax.objectives.views import Views, in_chunks
from remedis_jax.training import schedules
from remedis_jax.training.durations import to_steps
from remedis_jax.training.optimizers import make_optimizer
from remedis_jax.training.sharding import jit_train_step
from remedis_jax.training.state import make_train_step


@dataclasses.dataclass(frozen=True)
class Plan:
    """Lengths of a run in steps, all derived from the config and the size of its data.

    Attributes:
        total_steps: Of the whole run.
        warmup_steps: Of the learning rate.
        checkpoint_steps: Between checkpoints; 0 for a run too short to need any.
        validation_steps: Between evaluations on the validation rows.
        boundaries: Of BiT's schedule.
        head_only_steps: At the start, with the encoder held still.
        mixup: Alpha of mixup.
    """

    total_steps: int
    warmup_steps: int
    checkpoint_steps: int
    validation_steps: int
    boundaries: tuple[int, ...] = ()
    head_only_steps: int = 0
    mixup: float = 0.0


def make_plan(config: ConfigDict, num_examples: int) -> Plan:
    """Converts the config's durations.

    Raises:
        UserError: A duration is missing, doubled or negative, or the run would have no step.
    """
    sizes = {"batch_size": config.batch_size, "num_examples": num_examples}
    boundaries: tuple[int, ...] = ()
    hyperrule_total = None
    if config.schedule == "bit":
        *boundaries, hyperrule_total = schedules.bit_hyperrule_steps(num_examples)
    total = to_steps(config, "total", default=hyperrule_total, **sizes)
    if total < 1:
        raise UserError(f"The run would have {total} steps.", "Raise config.total_*.")
    within = sizes | {"total_steps": total}
    return Plan(
        total_steps=total,
        warmup_steps=to_steps(config, "warmup", default=0, **within),
        checkpoint_steps=to_steps(config, "checkpoint", default=total, **within),
        validation_steps=max(1, to_steps(config, "validation", default=total, **within)),
        boundaries=tuple(boundaries),
        head_only_steps=to_steps(config, "head_only", default=0, **within),
        mixup=_mixup(config, num_examples),
    )


def _mixup(config: ConfigDict, num_examples: int) -> float:
    """Alpha of mixup: the config's, or that of BiT-HyperRule, which is for single images."""
    if config.stage != "supervised":
        return 0.0
    if config.objective.mixup is not None:
        return config.objective.mixup
    if config.schedule != "bit" or takes_cases(config):
        return 0.0
    if label_kind(config.objective.kind) == "survival":
        return 0.0
    return schedules.bit_hyperrule_mixup(num_examples)


def takes_cases(config: ConfigDict) -> bool:
    """Whether an example of a supervised stage is a case of several images."""
    return config.stage == "supervised" and config.data.case_images > 0


def head_of(config: ConfigDict, classes: Sequence[str]) -> HeadSpec:
    """The head of a supervised config.

    Raises:
        UserError: There is no such head.
    """
    objective = config.objective
    return HeadSpec(
        outputs=outputs_of(objective.kind, len(classes), tuple(objective.intervals)),
        layers=objective.head,
        hidden=objective.hidden,
        pooling=objective.pooling if takes_cases(config) else "none",
        attention_dim=objective.attention_dim,
        places=len(config.data.views) if takes_cases(config) else 0,
    )


def check_stage_settings(config: ConfigDict) -> None:
    """Refuses settings of fine-tuning in a stage without labels, where they would do nothing.

    Raises:
        UserError: One is set.
    """
    if config.stage == "supervised":
        if config.freeze == "encoder" and config.head_only_steps:
            raise UserError(
                "freeze='encoder' holds the encoder still for the whole run.",
                "Leave head_only_steps out, or freeze less.",
            )
        return
    for key, unset in (("freeze", ""), ("select", "last"), ("early_stopping", 0)):
        if config[key] != unset:
            raise UserError(f"{key}={config[key]!r} is for supervised stages.", f"Leave {key} out.")
    if config.data.sampling != "shuffled" or config.data.case_images:
        raise UserError(
            "data.sampling and data.case_images are for supervised stages.", "Leave them out."
        )


def encoder_of(config: ConfigDict) -> BiTSpec:
    """The network of a config.

    Raises:
        UserError: There is no such network.
    """
    model = config.model
    return BiTSpec.from_name(
        model.name,
        stem=model.stem,
        compute_dtype=model.compute_dtype,
        final_norm=model.final_norm,
        value_range=tuple(model.value_range),
    )


def make_objective(
    config: ConfigDict,
    plan: Plan,
    mesh: Mesh,
    classes: tuple[str, ...],
    class_weights: tuple[float, ...] = (),
) -> Objective:
    """The objective of the config's stage.

    Args:
        config: Of the run.
        plan: Of the run.
        mesh: Devices.
        classes: What is predicted; empty for self-supervision.
        class_weights: See `Supervised`.

    Raises:
        UserError: Unknown model, recipe or option, or a queue that batches do not fill evenly.
    """
    augment = config.augment
    names = [augment.recipe]
    if config.stage in METHODS:
        names.append(augment.second_recipe or augment.recipe)
    views = Views(
        encoder=encoder_of(config),
        recipes=tuple(get_recipe(name, **augment.options) for name in names),
        size=augment.size,
        mesh=mesh,
        micro_batch=config.micro_batch if config.accumulation == "embeddings" else 0,
        remat=config.model.remat,
    )
    if config.stage not in METHODS:
        objective = config.objective
        return Supervised(
            views,
            head_of(config, classes),
            kind=objective.kind,
            focal_gamma=objective.focal_gamma,
            class_weights=class_weights,
            mixup=plan.mixup,
            intervals=tuple(objective.intervals),
            freeze=config.freeze,
        )
    method = METHODS[config.stage]
    check_options(config.stage, config.objective.to_dict())
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in config.objective.items()}
    if "total_steps" in {field.name for field in dataclasses.fields(method)}:
        settings["total_steps"] = plan.total_steps
    queue = settings.get("queue_size")
    if queue is not None and queue % config.batch_size:
        raise UserError(
            f"objective.queue_size {queue} is no multiple of batch_size {config.batch_size}.",
            f"Use a multiple, e.g. {max(queue // config.batch_size, 1) * config.batch_size}.",
        )
    return method(views, **settings)


# How a batch that is too large for memory is worked through.
ACCUMULATIONS = ("none", "embeddings", "gradients")


def check_accumulation(config: ConfigDict, objective: Objective, mesh: Mesh) -> None:
    """Raises UserError unless the batch can be worked through as the config says, exactly."""
    kind, part, batch = config.accumulation, config.micro_batch, config.batch_size
    if kind not in ACCUMULATIONS:
        raise UserError(f"accumulation is {kind!r}.", f"Use {', '.join(ACCUMULATIONS)}.")
    if kind == "none":
        if part:
            raise UserError(
                f"micro_batch is {part} and accumulation is 'none'.",
                "Set accumulation='embeddings' to work through a batch in parts.",
            )
        return
    devices = mesh.shape["data"]
    what = "batch_size"
    if kind == "embeddings" and takes_cases(config):
        what = "batch_size x data.case_images"
        batch *= config.data.case_images
    if part < 1 or batch % part or part % devices:
        raise UserError(
            f"micro_batch {part} does not cut {what} {batch} into equal parts over "
            f"{devices} device(s).",
            f"Use a divisor of {batch} that is a multiple of {devices}.",
        )
    if kind == "gradients" and not objective.decomposes:
        raise UserError(
            f"accumulation='gradients' would train {config.stage} on another loss: its examples "
            "meet in one loss over the whole batch.",
            "Use accumulation='embeddings', which gives the gradient of the whole batch.",
        )
    if "per_batch" in {recipe.blur_sigma for recipe in objective.views.recipes}:
        raise UserError(
            "accumulation changes what blur_sigma='per_batch' draws its one sigma for.",
            "Use blur_sigma='per_example'.",
        )


def stream_mode(config: ConfigDict) -> str:
    """How batches are drawn; see `data.pipeline.TrainStream`.

    Contrastive batches must not hold an image twice, and those of MICLe no case twice; few labels
    need every one.
    """
    if config.stage == "micle":
        return "cases"
    if takes_cases(config):
        return "bags"
    return "distinct" if config.stage in METHODS else "stream"


def make_schedule(config: ConfigDict, plan: Plan) -> schedules.Schedule:
    """The learning rate by step as a share of the peak rate.

    Raises:
        UserError: Unknown schedule.
    """
    if config.schedule == "cosine":
        return schedules.warmup_cosine(1.0, plan.warmup_steps, plan.total_steps)
    if config.schedule == "constant":
        return schedules.warmup_constant(1.0, plan.warmup_steps)
    if config.schedule == "bit":
        return schedules.bit_steps(1.0, plan.boundaries)
    raise UserError(
        f"There is no schedule {config.schedule!r}.", "Use cosine, constant or bit."
    )


def peak_rate(config: ConfigDict) -> float:
    """The highest learning rate of a run.

    Raises:
        UserError: Unknown scaling.
    """
    optimizer = config.optimizer
    return schedules.scaled_learning_rate(
        optimizer.learning_rate, optimizer.scaling, config.batch_size
    )


@dataclasses.dataclass(frozen=True)
class Built:
    """What the loop needs to make steps; see `remedis_jax.training.state.make_train_step`."""

    objective: Objective
    optimizer: optax.GradientTransformation
    step: Callable[[Any, Any, jax.Array, jax.Array], tuple[Any, Any]]


def build(
    config: ConfigDict,
    plan: Plan,
    mesh: Mesh,
    classes: tuple[str, ...],
    class_weights: tuple[float, ...] = (),
) -> Built:
    """Objective, optimiser and compiled step of a run.

    Runs whose steps are the same computation (another seed, other data, other initial weights,
    another learning rate) share one compiled step: a label-fraction curve is dozens of such runs in
    one process.
    """
    parts = (
        "stage", "batch_size", "accumulation", "micro_batch", "model", "augment", "optimizer",
        "schedule", "ema_decay", "freeze",
    )  # fmt: skip
    relevant = {name: config[name] for name in (*parts, "objective")}
    relevant = {k: v.to_dict() if isinstance(v, ConfigDict) else v for k, v in relevant.items()}
    relevant["optimizer"] = {
        k: v for k, v in relevant["optimizer"].items() if k not in ("learning_rate", "scaling")
    }
    relevant["data"] = {name: config.data[name] for name in ("case_images", "views")}
    key = json.dumps(relevant, sort_keys=True)
    return _build(key, plan, mesh, classes, class_weights)


@functools.lru_cache(maxsize=8)
def _build(
    key: str, plan: Plan, mesh: Mesh, classes: tuple[str, ...], class_weights: tuple[float, ...]
) -> Built:
    config = ConfigDict(json.loads(key))
    objective = make_objective(config, plan, mesh, classes, class_weights)
    check_accumulation(config, objective, mesh)
    schedule = make_schedule(config, plan)
    settings = config.optimizer
    optimizer = make_optimizer(
        settings.name,
        schedule,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        exclude=settings.exclude,
        group_norm=settings.group_norm,
        clip_norm=settings.clip_norm or None,
        excluded_rate=settings.excluded_rate,
        freeze=config.freeze,
        layer_decay=settings.layer_decay,
        head_only_steps=plan.head_only_steps,
    )
    accumulate = None
    if config.accumulation == "gradients":
        accumulate = functools.partial(in_chunks, chunk=config.micro_batch, mesh=mesh)
    step = make_train_step(
        objective,
        optimizer,
        schedule,
        ema_decay=config.ema_decay or None,
        accumulate=accumulate,
    )
    return Built(objective, optimizer, jit_train_step(step, mesh))
