"""What the configs of the modalities have in common: a method's own config, and what is added."""

from experiments.contrastive import (
    barlow_twins,
    byol,
    micle,
    moco_v2,
    moco_v3,
    relic,
    simclr,
    vicreg,
)
from experiments.finetune._start import NO_COLUMN, TINY_SIZE
from remedis_jax.errors import UserError
from remedis_jax.tasks.specification import get_task
from remedis_jax.training.config import parse_arg

METHODS = {
    "simclr": simclr,
    "moco_v2": moco_v2,
    "moco_v3": moco_v3,
    "relic": relic,
    "barlow_twins": barlow_twins,
    "byol": byol,
    "vicreg": vicreg,
    "micle": micle,
}
# At a few pixels these erase what a phantom shows; and with none of them the tiny forms of all
# modalities of as many channels compile to one step.
_TINY_OPTIONS = {
    "area_range": (0.25, 1.0),
    "blur_probability": 0.0,
    "rotation_degrees": 0.0,
    "equalize_probability": 0.0,
    "elastic_probability": 0.0,
}


def modality_config(task_name: str, arg, *, case: str):
    """The config of a method on the images of a modality.

    Args:
        task_name: A task of the modality, which knows channels, size, recipe and group column.
        arg: What stands after the colon.
        case: Column whose images make MICLe's pairs.

    Raises:
        UserError: There is no such method.
    """
    arg = parse_arg(
        arg,
        model="r50x1",
        stem="bit",
        # One of METHODS; SimCLR is the paper's (verified), the rest are the authors' own defaults.
        method="simclr",
        # Side of a view; 0 for the task's.
        size=0,
        manifest="",
        # BiT weights for REMEDIS (official-code); those of a SimCLR run for MICLe (micle).
        init="",
        seed=0,
        # Column of what must not be shared with test data, and of the case for MICLe; "none" for
        # data without.
        group=get_task(task_name).group,
        case=case,
        # Manifest with the labelled data; those of its splits val and test must not be in the pool.
        held_out="",
        tiny=False,
    )
    if arg.method not in METHODS:
        raise UserError(f"There is no method {arg.method!r}.", f"Use {', '.join(METHODS)}.")
    task = get_task(task_name)
    tiny = ",tiny" if arg.tiny else ""
    config = METHODS[arg.method].get_config(
        f"model={arg.model},stem={arg.stem},task={task_name},size={arg.size}{tiny}"
    )
    config.init, config.seed, config.data.manifest = arg.init, arg.seed, arg.manifest
    config.data.fit = task.fit
    config.data.group = "" if arg.group == NO_COLUMN else arg.group
    if arg.method == "micle" and arg.case != NO_COLUMN:
        config.data.case = arg.case
    if arg.held_out:
        held_out = {"manifest": arg.held_out, "where": {"split": ["val", "test"]}}
        if config.data.group:
            held_out["group"] = config.data.group
        config.data.held_out = (held_out,)
    config.augment.options = config.augment.options.to_dict() | dict(task.pretrain_options)
    if arg.tiny:
        config.data.size = config.augment.size = arg.size or TINY_SIZE
        config.augment.options = config.augment.options.to_dict() | _TINY_OPTIONS
        config.augment.evaluation = {"crop": "resize"}
        # Different images of so few pixels have like fingerprints.
        config.data.near_duplicates = -1
        config.batch_size = 16
        config.total_steps, config.warmup_steps, config.checkpoint_steps = 8.0, 2.0, 8.0
    return config
