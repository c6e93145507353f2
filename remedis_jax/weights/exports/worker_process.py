"""Running a foreign framework in a process of its own, perhaps of another environment.

PyTorch, TensorFlow and onnxruntime are not installed beside JAX by default, are slow to import and
fight over memory and devices. Each has a worker script in this package that imports nothing of this
project; it is given a folder with `job.json` and `arrays.npz` and leaves `report.json` and
`results.npz` there.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from remedis_jax.errors import RunFailed, UserError

_FOLDER = Path(__file__).parents[1]
# `-c` keeps the script's folder off the import path, where its neighbours could shadow packages.
_START = "import runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
# On the processor, so that what is compared does not depend on the machine, which another process
# may also hold; and nothing is looked up on the network.
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "JAX_PLATFORMS": "cpu",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}
# A network of a billion parameters on a slow disk takes minutes; a hang must end some day.
_TIME_LIMIT = 3600


def interpreter_path(python: str | os.PathLike) -> str:
    """An interpreter's absolute path, since it is started in another folder.

    A bare name is looked up as the shell would. Links are kept: that of an environment is one.
    """
    found = None if os.path.dirname(python) else shutil.which(python)
    return os.path.abspath(found or python)


def run_worker(
    script: str,
    job: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    *,
    extra: str,
    variable: str,
    python: str | os.PathLike | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Runs a worker script of this package to its end.

    Args:
        script: Its path in the room `weights`, e.g. "pytorch/worker.py".
        job: JSON values that it reads.
        arrays: Numeric arrays that it reads.
        extra: Extra of this package that installs what it imports.
        variable: Environment variable that names another interpreter.
        python: Interpreter to run it with; by default the one that `variable` names, or this one.

    Returns:
        Its report and its arrays.

    Raises:
        UserError: The interpreter does not exist, or lacks a package.
        RunFailed: The script ended in an error.
    """
    interpreter = interpreter_path(python or os.environ.get(variable) or sys.executable)
    with tempfile.TemporaryDirectory(prefix="remedis-worker-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job))
        np.savez(folder / "arrays.npz", **arrays)
        command = [interpreter, "-c", _START, str(_FOLDER / script), name]
        try:
            done = subprocess.run(
                command,
                env=os.environ | _ENVIRONMENT,
                # The current folder is on Python's path: the user's may hold anybody's runpy.py.
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIME_LIMIT,
            )
        except OSError as error:
            raise UserError(
                f"{interpreter} cannot be started ({error.strerror}).",
                f"Give --python (or {variable}) the path of a Python interpreter.",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise RunFailed(
                f"{script} did not end within {_TIME_LIMIT // 60} minutes.", "Use a faster machine."
            ) from error
        path = folder / "report.json"
        if done.returncode != 0 or not path.is_file():
            _explain(interpreter, script, done, extra, variable)
        report = json.loads(path.read_text())
        with np.load(folder / "results.npz", allow_pickle=False) as results:
            return report, dict(results)


def _explain(
    interpreter: str,
    script: str,
    done: subprocess.CompletedProcess,
    extra: str,
    variable: str,
) -> NoReturn:
    """Raises what fits a worker that ended in an error."""
    last = (done.stderr.strip().splitlines() or [""])[-1].strip()
    missing = re.fullmatch(r"ModuleNotFoundError: No module named '([\w.]+)'", last)
    if missing:
        raise UserError(
            f"{interpreter} has no package {missing[1]!r}.",
            f"Install it: pip install 'remedis_jax[{extra}]'; or name an environment that has it "
            f"by --python or {variable}.",
        )
    raise RunFailed(
        f"{script} ended with code {done.returncode}{f' ({last})' if last else ''}.",
        "Code -9 means too little memory." if done.returncode == -9 else "Nothing was kept.",
    )
