"""The folder of a run: whose it is, and what stands in it from the beginning."""

import json
import os
from pathlib import Path
from typing import Any

from clu import parameter_overview
from ml_collections import ConfigDict

from remedis_jax.errors import UserError
from remedis_jax.training.config import differing_keys, to_json
from remedis_jax.training.metric_writers import write_failure
from remedis_jax.training.state import TrainState


def is_new(workdir: Path) -> bool:
    """Whether no process has begun this run before."""
    return not (workdir / "metrics.jsonl").is_file()


# What a run may go on with changed: nothing that its weights depend on.
_FREE_KEYS = (
    "alarm.action", "alarm.ratio", "alarm.patience", "checkpoints_to_keep", "data.workers",
    "data.threads", "data.redact", "profile_input",
)  # fmt: skip


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """Checks that a run's folder is new or of the same config.

    Raises:
        UserError: It was made by another config, or holds other things.
    """
    path = workdir / "config.json"
    if path.is_file():
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise UserError(
                f"{path} cannot be read ({error}).", "Restore it, or choose another --workdir."
            ) from error
        keys = [key for key in differing_keys(earlier, to_json(config)) if key not in _FREE_KEYS]
        if keys:
            raise UserError(
                f"{workdir} belongs to a run with another config: {', '.join(keys[:5])} "
                f"differ{'s' if len(keys) == 1 else ''}.",
                "Choose another --workdir, or restore the config.",
            )
        return
    if workdir.is_dir() and any(workdir.iterdir()):
        raise UserError(
            f"{workdir} is not empty and holds no run.", "Choose an empty or new --workdir."
        )


def claim_workdir(workdir: Path, config: ConfigDict) -> None:
    """Creates a run's folder with its config, or goes on with the one that is there.

    Raises:
        UserError: As `check_workdir`, or it is a file.
        RunFailed: It cannot be created.
    """
    check_workdir(workdir, config)
    path = workdir / "config.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(path, to_json(config))
    except FileExistsError as error:
        raise UserError(f"{workdir} is a file.", "Choose another --workdir.") from error
    except OSError as error:
        raise write_failure(path, error) from error


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that the file is complete or absent."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def write_parameter_table(path: Path, state: TrainState) -> None:
    """Name, shape, size, mean and deviation of every parameter that the run starts with."""
    if path.is_file():
        return
    table = parameter_overview.get_parameter_overview(state.params)
    try:
        path.write_text(table + "\n", encoding="utf-8")
    except OSError as error:
        raise write_failure(path, error) from error
