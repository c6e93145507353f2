"""A process of its own that works through cells: `python -m remedis_jax.sweeps.worker`.

    python -m remedis_jax.sweeps.worker SWEEP CELL [CELL ...]

It ends with 0 when each of the cells has an outcome or is another process's, with 75 when it was
told to stop and can go on later, and with 2 when the input of a cell is wrong.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from remedis_jax.errors import RemedisError
from remedis_jax.sweeps.cells import CellFolder

STOPPED = 75
# ours: seconds between two looks whether whoever started the process is still there.
_LOOK_SECONDS = 1.0


def start_worker(
    sweep: Path,
    cells: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    output: IO | None = None,
) -> subprocess.Popen:
    """Starts a worker process; `stop_worker` stops it.

    Args:
        sweep: The sweep's folder.
        cells: Names of the cells, as in `Cell.name`.
        environment: Variables besides this process's.
        output: Where its lines go; those of this process if None.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "remedis_jax.sweeps.worker", str(sweep), *cells],
        env=os.environ | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output if output is None else subprocess.STDOUT,
        # Ctrl-C at the terminal reaches the parent alone, who passes it on once.
        start_new_session=True,
    )


def stop_worker(process: subprocess.Popen) -> None:
    """Tells a worker to save what it has and to end.

    By SIGINT: a scheduler's SIGTERM may reach it as well, and a run that is told twice by the same
    signal ends at once.
    """
    if process.poll() is None:
        process.send_signal(signal.SIGINT)


def main(sweep: str, *names: str) -> int:
    """Works through the cells; returns the exit code."""
    # A shell's background job ignores SIGINT, and hands that down.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # submitit's signal, which a scheduler sends to every process of a job; the job answers it.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    _end_with(os.getppid())
    try:
        from remedis_jax.sweeps.work import work_through
        from remedis_jax.training.compilation_cache import enable_compilation_cache

        enable_compilation_cache()
        folders = [CellFolder(Path(sweep), name) for name in names]
        work_through(folders, announce=lambda line: print(line, flush=True), wait=False)
    except RemedisError as error:
        print(f"remedis: error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        return STOPPED
    return 0


def _end_with(parent: int) -> None:
    """Stops this process when its parent is gone, so that none is left holding a device."""

    def watch():
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
