"""remedis_jax: medical imaging with few labels, by self-supervision (REMEDIS) in JAX.

`check_data`, `split`, `cache`, `train`, `finetune`, `evaluate`, `calibrate`, `embed`, `probe`,
`explain`, `compare`, `write_report`, `run_experiment` and `run_sweep` do what the commands
`check-data`, `split`, `cache`, `train`, `finetune`, `evaluate`, `calibrate`, `embed`, `probe`,
`explain`, `compare`, `report` and `sweep` do, and `load` gives a model to call on images. They are
loaded at first use, so that `import remedis_jax` costs nothing.
"""

__version__ = "0.1.0"

__all__ = [
    "cache",
    "calibrate",
    "check_data",
    "compare",
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


def __getattr__(name: str):
    if name in __all__:
        from remedis_jax import api

        return getattr(api, name)
    raise AttributeError(f"module 'remedis_jax' has no attribute {name!r}")
