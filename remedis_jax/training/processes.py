"""Several processes that train one model: how they start, agree and end.

Every process runs the same program on the same config, reads its share of each batch, and computes
on its own devices; the compiled step exchanges what has to be exchanged. Process 0 alone writes
metrics and weights; checkpoints are written by all, into a folder that all of them see.
"""

import contextlib
import importlib.util
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from remedis_jax.errors import RemedisError, RunFailed, UserError

DISTRIBUTED = ("auto", "on", "off")


def several_expected(environment: dict[str, str] | None = None) -> bool:
    """Whether this process was started as one of several, by SLURM or on Cloud TPUs.

    A TPU machine always is: what jax reads from its metadata says how many there are, one perhaps.

    Args:
        environment: Environment variables; those of this process by default.
    """
    variables = os.environ if environment is None else environment
    tasks = variables.get("SLURM_STEP_NUM_TASKS", variables.get("SLURM_NTASKS", "1"))
    # SLURM_PROCID is set by srun; a batch script by itself is one process, whatever it was given.
    slurm = "SLURM_PROCID" in variables and "SLURM_STEP_ID" in variables and int(tasks) > 1
    workers = variables.get("TPU_PROCESS_ADDRESSES", variables.get("TPU_WORKER_HOSTNAMES"))
    if slurm or workers is not None:
        return slurm or "," in workers
    # The form in which jax is told that there is no metadata server.
    return "TPU_SKIP_MDS_QUERY" not in variables and _has_tpu()


def _has_tpu() -> bool:
    """Whether this machine has TPU chips and jax can use them."""
    if importlib.util.find_spec("libtpu") is None:
        return False
    vendors = Path("/sys/bus/pci/devices").glob("*/vendor")
    is_google = any(path.read_text().strip() == "0x1ae0" for path in vendors)
    devices = [*Path("/dev").glob("accel[0-9]*"), *Path("/dev/vfio").glob("[0-9]*")]
    return is_google and bool(devices)


def start_processes(
    distributed: str = "auto",
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the other processes of the run. To be called before any array is made.

    Args:
        distributed: "auto": where SLURM or a TPU pod says that there are several processes; "on":
            always, with what jax finds out from the environment; "off": never.
        coordinator: HOST:PORT of process 0, to say it all explicitly, with the next two.
        processes: How many there are.
        process_id: Which one this is, from 0.

    Raises:
        UserError: The arguments do not go together.
        RunFailed: The others cannot be reached.
    """
    if distributed not in DISTRIBUTED:
        raise UserError(f"--distributed is {distributed!r}.", f"Use {', '.join(DISTRIBUTED)}.")
    explicit = (coordinator, processes, process_id)
    if any(value is not None for value in explicit):
        if distributed == "off":
            raise UserError("--distributed is off.", "Leave it out to start several processes.")
        if any(value is None for value in explicit):
            raise UserError(
                "Of --coordinator, --processes and --process-id some are missing.",
                "Give all three, or none where SLURM or a TPU pod knows them.",
            )
        if not re.fullmatch(r"[^:\s]+:\d{1,5}", coordinator):
            raise UserError(
                f"--coordinator {coordinator!r} is not HOST:PORT.", "E.g. 10.0.0.1:9876."
            )
        if not 0 <= process_id < processes:
            raise UserError(
                f"--process-id {process_id} is none of {processes} processes.",
                f"Use 0 to {processes - 1}.",
            )
        if processes == 1:
            return
        _initialize(coordinator, processes, process_id)
    elif distributed == "on" or (distributed == "auto" and several_expected()):
        _initialize()


def _initialize(
    coordinator: str | None = None, processes: int | None = None, process_id: int | None = None
) -> None:
    where = f" at {coordinator}" if coordinator else ""
    if coordinator and process_id:
        _wait_for_port(coordinator)
    try:
        jax.distributed.initialize(
            coordinator, processes, process_id, initialization_timeout=_START_SECONDS
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise RunFailed(
            f"The processes of this run could not find each other{where} ({reason}).",
            "Check that process 0 runs and that its port is reachable and free; on other clusters "
            "than SLURM and Cloud TPU give --coordinator, --processes and --process-id; a single "
            "process needs --distributed off.",
        ) from error


# ours: seconds that the processes may start apart.
_START_SECONDS = int(os.environ.get("REMEDIS_START_SECONDS", "300"))


def _wait_for_port(coordinator: str) -> None:
    """Fails with an exception where jax, which waits in native code, would abort the process.

    Raises:
        RunFailed: Nobody listens.
    """
    import time

    host, _, port = coordinator.rpartition(":")
    limit = time.monotonic() + _START_SECONDS
    while True:
        try:
            with socket.create_connection((host, int(port)), timeout=5):
                return
        except OSError as error:
            if time.monotonic() > limit:
                raise RunFailed(
                    f"Nobody answers at {coordinator} ({error}).",
                    "Start process 0 there, with the same command and --process-id 0.",
                ) from error
            time.sleep(0.2)


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process; every process must ask at the same point."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.int32(flag))))


def largest(values: tuple[float, ...]) -> tuple[float, ...]:
    """The largest of each number over all processes; every process must ask at the same point."""
    if jax.process_count() == 1:
        return values
    return tuple(
        multihost_utils.process_allgather(np.array(values, np.float64)).max(axis=0).tolist()
    )


def wait_for_all(name: str) -> None:
    """Returns when every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What is in the block has succeeded in all processes, or fails in all.

    Without it, an error in one process would leave the others waiting for it.

    Raises:
        RunFailed: Another process failed; its own message says why.
    """
    failure = None
    try:
        yield
    except Exception as error:
        failure = error
    failed = any_process(failure is not None)
    if failure is not None:
        raise failure
    if failed:
        raise RunFailed("Another process of this run could not go on.", "Its message says why.")


@contextlib.contextmanager
def lost_process_explained() -> Iterator[None]:
    """Turns the failure of an exchange with a process that has ended into one line.

    Raises:
        RunFailed: An exchange failed in a run of several processes.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if jax.process_count() == 1 or isinstance(error, RemedisError):
            raise
        if not re.search(r"[Gg]loo|Connection|DEADLINE|UNAVAILABLE|[Bb]arrier", str(error)):
            raise
        raise RunFailed(
            "Another process of this run has ended.",
            "Start all processes again with the same commands; they go on from the last "
            "checkpoint.",
        ) from error


def leave(exit_code: int) -> None:
    """Ends a failed process of several at once.

    The orderly way waits for the others, which may be gone, and is then aborted by jax.
    """
    if jax.distributed.is_initialized():
        os._exit(exit_code)
