"""experiments/finetune/grid.py whose runs are those of one_stage.py."""

from pathlib import Path

from experiments.finetune import grid


def get_config(arg=None):
    config = grid.get_config(arg)
    _, _, arguments = config.base.partition(":")
    config.base = f"{Path(__file__).with_name('one_stage.py')}:{arguments}"
    return config
