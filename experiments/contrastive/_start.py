"""What the contrastive configs have in common: arguments, task, network, and the tiny form."""

from experiments.bit.natural import shrink
from remedis_jax.tasks.specification import get_task
from remedis_jax.training.config import parse_arg, stage_config

# Small heads and queues for runs of seconds, by field of the method's objective.
_TINY_OBJECTIVE = {"hidden_dim": 32, "head_dim": 16, "projector": (32, 32, 16), "queue_size": 32}


def start_config(stage, arg, recipe=("simclr", "")):
    """A config of one method with the command line's arguments filled in, and those arguments.

    Args:
        stage: The method.
        arg: What stands after the colon: model, stem, task, size, manifest, init, tiny.
        recipe: The method's augmentation of the two views of colour images; grey modalities keep
            their own.
    """
    arg = parse_arg(
        arg, model="r50x1", task="t1", stem="bit", size=0, manifest="", init="", tiny=False
    )
    task = get_task(arg.task)
    size = arg.size or task.pretrain_size
    config = stage_config(stage)
    config.init = arg.init
    config.data.manifest = arg.manifest
    config.data.channels = task.channels
    config.data.size = round(size * 256 / 224)
    config.model.name, config.model.stem = arg.model, arg.stem
    config.augment.recipe, config.augment.second_recipe = recipe
    if task.recipe != "simclr":
        config.augment.recipe, config.augment.second_recipe = task.recipe, ""
    config.augment.size = size
    config.checkpoint_steps = 500.0
    return config, arg


def finish_config(config, arg):
    """The config itself, or its tiny form."""
    if arg.tiny:
        shrink(config)
        for name, value in _TINY_OBJECTIVE.items():
            # 0 is "as wide as the encoder", which is small already.
            if config.objective.get(name):
                config.objective[name] = value
    return config
