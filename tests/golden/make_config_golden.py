"""Resolved configs of tasks and modalities, and what their optimiser does to each parameter.

    python -m tests.golden.make_config_golden

writes `tests/golden/configs/NAME.json` (every field of the config) and `NAME.txt` (every parameter:
shape, whether weight decay and layer adaptation include it, what its learning rate is multiplied
by, whether it is frozen). Look at the difference before you keep it: it is what a change does to
every run from here on.
"""

import functools
import json
from pathlib import Path
from unittest import mock

import jax
import numpy as np

from remedis_jax.models.bit import BiT
from remedis_jax.models.freezing import frozen_mask, parameter_path, rate_multipliers
from remedis_jax.models.parameters import Initializer, initialise
from remedis_jax.objectives.views import Views
from remedis_jax.tasks.specification import CLINICAL
from remedis_jax.tasks.task import MODALITIES
from remedis_jax.training.build import make_objective, make_plan
from remedis_jax.training.config import load_config, to_json
from remedis_jax.training.optimizers import exclusion_regex, regex_mask
from remedis_jax.training.sharding import make_mesh

FOLDER = Path(__file__).parent / "configs"
CONFIGS = {
    **{f"finetune_{name}": f"experiments/finetune/{name}.py" for name in CLINICAL},
    "finetune_t5_cox": "experiments/finetune/t5.py:loss=cox",
    "finetune_t6_exam": "experiments/finetune/t6.py:level=exam",
    "finetune_t4_grid": "experiments/finetune/t4.py:protocol=grid-point",
    "finetune_t4_linear": "experiments/finetune/t4.py:protocol=linear",
    "finetune_t4_layers": "experiments/finetune/t4.py",
    **{f"contrastive_{name}": f"experiments/contrastive/{name}.py" for name in MODALITIES},
}
OVERRIDES = {"finetune_t4_layers": ("freeze=block1", "optimizer.layer_decay=0.5")}
# Where the data say which classes there are: the eight of ISIC 2019.
CLASSES = tuple(f"class_{index}" for index in range(8))
# Training examples; only lengths follow from it, and none of what is written here.
EXAMPLES = 10_000


def nothing(self, generator, shape):
    """In place of `Initializer.on_host`: no values, and no memory."""
    return np.broadcast_to(np.float32(0), shape)


@functools.cache
def encoder(spec):
    """The parameters of a network; all configs here have the same one."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), "float32")
    return initialise(BiT(spec), 0, image)["params"]


def parameters(config):
    """The parameters' shapes, as arrays without memory of their own."""
    classes = ()
    if config.stage == "supervised":
        classes = tuple(config.data.classes) or CLASSES
    objective = make_objective(config, make_plan(config, EXAMPLES), make_mesh(1), classes)
    # Drawing the values of so many ResNet-50 takes longer than all else here.
    with (
        mock.patch.object(Initializer, "on_host", nothing),
        mock.patch.object(Views, "init_encoder", lambda views, seed: encoder(views.encoder)),
    ):
        return objective.init_params(0, None)


def parameter_table(config) -> str:
    """A line per parameter."""
    params, settings = parameters(config), config.optimizer
    pattern = exclusion_regex(settings.exclude, settings.group_norm)
    frozen = jax.tree.leaves(frozen_mask(params, config.freeze))
    included = jax.tree.leaves(regex_mask(params, pattern))
    rates = jax.tree.leaves(rate_multipliers(params, config.freeze, settings.layer_decay))
    lines = ["name shape decay rate frozen"]
    flat = jax.tree_util.tree_leaves_with_path(params)
    for (path, value), held, kept, rate in zip(flat, frozen, included, rates, strict=True):
        rate *= 1.0 if kept else settings.excluded_rate
        shape = "x".join(map(str, value.shape))
        decay, still = ("yes" if flag else "no" for flag in (kept and not held, held))
        lines.append(f"{parameter_path(path)} {shape} {decay} {rate:g} {still}")
    return "\n".join(lines) + "\n"


def resolved(config) -> str:
    return json.dumps(to_json(config), indent=1, sort_keys=True) + "\n"


def goldens(name: str) -> dict[str, str]:
    """File name -> text of one config."""
    config = load_config(CONFIGS[name], OVERRIDES.get(name, ()))
    return {f"{name}.json": resolved(config), f"{name}.txt": parameter_table(config)}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for stale in FOLDER.glob("*"):
        stale.unlink()
    for name in CONFIGS:
        for file, text in goldens(name).items():
            (FOLDER / file).write_text(text)
