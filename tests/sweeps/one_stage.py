"""experiments/finetune/classify.py with a network of one stage, which is traced in a second."""

from experiments.finetune import classify
from remedis_jax.models import bit

bit.UNITS[5] = (1,)


def get_config(arg=None):
    config = classify.get_config(arg)
    config.model.name = "r5x0.25"
    return config
