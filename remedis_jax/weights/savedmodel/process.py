"""Runs the TensorFlow worker on a SavedModel's folder and hands back what it found.

The core of this package never imports TensorFlow: the worker runs under whichever interpreter has
it, and data pass as .npy and JSON files in a private temporary folder.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from remedis_jax.data.dataset import file_sha256
from remedis_jax.errors import RunFailed, UserError
from remedis_jax.weights.exports.worker_process import interpreter_path

PYTHON_VARIABLE = "REMEDIS_TF_PYTHON"
# ours: a published saved_model.pb has a few MB, the largest published model 1 GB.
_LARGEST_PROGRAM = 256 * 2**20
_LARGEST_FOLDER = 16 * 2**30
_TIME_LIMIT = 3600
# `-c` keeps the package's folder off the import path, where its files could shadow others.
_START = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
_WORKER = Path(__file__).with_name("worker.py")


def check_folder(folder: Path) -> Path:
    """Refuses a folder that is no complete SavedModel; reads nothing but names and sizes.

    Returns:
        The folder's absolute path.

    Raises:
        UserError: A part is missing, a link leads out of the folder, or a size is absurd.
    """
    folder = Path(folder)
    again = "Give the folder that holds saved_model.pb and variables/."
    if not folder.exists():
        raise UserError(f"{folder} does not exist.", again)
    if not folder.is_dir():
        raise UserError(f"{folder} is a file and no SavedModel's folder.", f"Unpack it. {again}")
    root = folder.resolve()
    total = 0
    for path in _entries(root):
        if not path.resolve().is_relative_to(root):
            raise UserError(
                f"{folder}: {path.relative_to(root)} is a link that leads out of the folder.",
                "Copy the folder with the files themselves (cp -rL).",
            )
        if path.is_file():
            total += path.stat().st_size
        elif not path.is_dir():
            raise UserError(
                f"{folder}: {path.relative_to(root)} is neither a file nor a folder.",
                "Copy the SavedModel again.",
            )
    program = root / "saved_model.pb"
    if not program.is_file():
        below = next((p.parent.name for p in root.glob("*/saved_model.pb")), None)
        raise UserError(
            f"{folder} holds no saved_model.pb.",
            again if below is None else f"The SavedModel is in {folder / below}.",
        )
    if not (root / "variables" / "variables.index").is_file() or not any(
        (root / "variables").glob("variables.data-*")
    ):
        raise UserError(
            f"{folder} holds no variables (variables/variables.index and its data).",
            "Copy or download the folder whole; a model without variables cannot be imported.",
        )
    if program.stat().st_size > _LARGEST_PROGRAM or total > _LARGEST_FOLDER:
        raise UserError(
            f"{folder}: saved_model.pb has {program.stat().st_size:,} bytes and all files "
            f"{total:,}, more than any such model has.",
            f"At most {_LARGEST_PROGRAM:,} and {_LARGEST_FOLDER:,} are read.",
        )
    return root


def _entries(root: Path) -> list[Path]:
    """All files and folders below, without following links to folders, in a fixed order."""
    found = []
    for parent, folders, files in os.walk(root, followlinks=False):
        found += [Path(parent) / name for name in folders + files]
    return sorted(found)


def folder_sha256(folder: Path) -> str:
    """SHA-256 (hex) over names and contents of all files in a folder, whatever their dates."""
    digest = hashlib.sha256()
    for path in _entries(folder):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            digest.update(f"{file_sha256(path)}  {name}\n".encode())
    return digest.hexdigest()


def run_worker(
    folder: Path,
    work: Path,
    images: np.ndarray,
    *,
    sizes: Sequence[Sequence[int]] | None,
    python: str | os.PathLike | None = None,
    output: str | None = None,
    variables: bool = True,
    own_export: bool = False,
) -> dict[str, Any]:
    """Checks, reads and runs a SavedModel in TensorFlow's process.

    Args:
        folder: As from `check_folder`.
        work: Existing empty folder for the exchange; the caller removes it.
        images: [N, H, W, 3] float32 in [0, 1], the probe.
        sizes: Height and width of each batch to run where the model leaves them free; that of
            `images` if None.
        python: Interpreter with TensorFlow; the environment variable REMEDIS_TF_PYTHON or this
            one if None.
        output: Name of the output that is meant, where there are several.
        variables: Whether to read the variables.
        own_export: Whether it was exported by this project a moment ago.

    Returns:
        What `worker.answer` returns, its files relative to `work`.

    Raises:
        UserError: No TensorFlow there, or the SavedModel is refused.
        RunFailed: The process ended without an answer.
    """
    python = interpreter_path(python or os.environ.get(PYTHON_VARIABLE) or sys.executable)
    np.save(work / "images.npy", images)
    request = {
        "folder": str(folder),
        "images": str(work / "images.npy"),
        "sizes": sizes and [list(size) for size in sizes],
        "output": output,
        "variables": variables,
        "own_export": own_export,
    }
    (work / "request.json").write_text(json.dumps(request), encoding="utf-8")
    # On the processor and in plain float32: what is compared must not depend on the machine.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    try:
        ended = subprocess.run(
            [python, "-c", _START, str(_WORKER), str(work / "request.json")],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIME_LIMIT,
        )
    except OSError as error:
        raise UserError(
            f"The interpreter {python} cannot be started ({error.strerror}).",
            f"Give one that has TensorFlow with --python or {PYTHON_VARIABLE}.",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise RunFailed(
            f"TensorFlow did not finish with {folder} in {_TIME_LIMIT // 60} minutes."
        ) from error
    if not (work / "answer.json").is_file():
        _explain(python, folder, ended)
    answer = _printable(json.loads((work / "answer.json").read_text(encoding="utf-8")))
    if "refused" in answer:
        refused = answer["refused"]
        raise UserError(f"SavedModel {folder} {refused['problem']}.", refused["remedy"])
    return answer["done"]


def _printable(value: Any) -> Any:
    """JSON values without control characters: names come from the file and go to a terminal."""
    if isinstance(value, dict):
        return {key: _printable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_printable(part) for part in value]
    if isinstance(value, str):
        return "".join(c if c.isprintable() else "?" for c in value)
    return value


def _explain(python: str, folder: Path, ended: subprocess.CompletedProcess) -> None:
    """Raises what fits a worker that ended without an answer."""
    # An abort inside TensorFlow ends with its stack, below the line that says why.
    said = [line for line in ended.stderr.splitlines() if line.strip() and "@ " not in line]
    aborted = [line for line in said if "Check failed" in line]
    last = (aborted or said or [""])[-1].strip()
    if last.startswith("ModuleNotFoundError:"):
        raise UserError(
            f"{python} cannot read a SavedModel ({last.removeprefix('ModuleNotFoundError: ')}).",
            "Install TensorFlow (pip install 'remedis_jax[tf]'), or name an interpreter that has "
            f"it with --python or {PYTHON_VARIABLE}.",
        )
    raise RunFailed(
        f"TensorFlow ended with code {ended.returncode} on {folder} and gave no answer"
        f"{f' ({last})' if last else ''}.",
        "Code -9 means too little memory."
        if ended.returncode == -9
        else "The SavedModel may be damaged: copy it again; or give a newer TensorFlow.",
    )
