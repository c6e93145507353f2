"""The third door: what the commands do, as functions.

    import remedis_jax
    remedis_jax.train("experiments/contrastive/simclr.py:model=r50x1", "runs/ssl",
                      overrides=("data.manifest=images.csv",))

Each function imports what it needs when it is called.
"""

from remedis_jax.api.data import cache, check_data, split
from remedis_jax.api.explaining import explain
from remedis_jax.api.features import embed, load
from remedis_jax.api.finetuning import finetune
from remedis_jax.api.judging import calibrate, data_config, evaluate
from remedis_jax.api.probing import compare, probe
from remedis_jax.api.reporting import write_report
from remedis_jax.api.sweeps import run_sweep
from remedis_jax.api.training import run_experiment, train

__all__ = [
    "cache",
    "calibrate",
    "check_data",
    "compare",
    "data_config",
    "embed",
    "evaluate",
    "explain",
    "finetune",
    "load",
    "probe",
    "run_experiment",
    "run_sweep",
    "split",
    "train",
    "write_report",
]
