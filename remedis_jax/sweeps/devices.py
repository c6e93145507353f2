"""All local devices at once: a worker process for each, which sees that device alone."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from remedis_jax.errors import RunFailed, UserError
from remedis_jax.sweeps.cells import REFUSED, CellFolder
from remedis_jax.sweeps.watching import Watch, require_outcomes
from remedis_jax.sweeps.worker import start_worker, stop_worker
from remedis_jax.training.loop import Preempted
from remedis_jax.training.stop_signal import StopSignal

Announce = Callable[[str], None]
_LOOK_SECONDS = 0.2
# Of the ports on which the TPU runtimes of one host would talk (jax's own tests count from here).
_TPU_PORT = 8476
# Asked in a process that ends: whoever asks holds the devices' memory from then on.
_QUESTION = "import jax; print(jax.default_backend(), jax.local_device_count())"


@dataclasses.dataclass(frozen=True)
class Devices:
    """Worker processes on the devices of this machine.

    Attributes:
        processes: How many; None for one on each device. On a CPU, whose devices are not told
            apart, they share the cores.
    """

    processes: int | None = None

    def run(self, sweep: Path, folders: Sequence[CellFolder], announce: Announce) -> bool:
        """As `executors.Executor.run`."""
        environments = environments_of(*local_devices(), self.processes)[: len(folders)]
        names = [str(folder.path.relative_to(sweep)) for folder in folders]
        logs = [sweep / "logs" / f"worker-{i}.log" for i in range(len(environments))]
        logs[0].parent.mkdir(exist_ok=True)
        announce(f"{len(environments)} process(es), whose lines go to {logs[0].parent}")
        workers = []
        watch = Watch(folders, announce)
        with StopSignal() as stop:
            try:
                for log, environment in zip(logs, environments, strict=True):
                    with open(log, "a") as output:
                        # Every worker knows all cells, and takes those that no other has.
                        workers.append(
                            start_worker(sweep, names, environment=environment, output=output)
                        )
                while any(worker.poll() is None for worker in workers):
                    watch.look()
                    refused = any(o.status == REFUSED for o in watch.outcomes())
                    if stop.received or refused:
                        break
                    time.sleep(_LOOK_SECONDS)
            finally:
                for worker in workers:
                    stop_worker(worker)
                for worker in workers:
                    worker.wait()
        if stop.received:
            raise Preempted(
                f"Stopped by {stop.received}; the cells that were running are saved.",
                "Repeat the command to go on.",
            )
        require_outcomes(folders, logs)
        return True


def local_devices() -> tuple[str, int]:
    """The backend of this machine ("cpu", "gpu", "tpu") and how many devices it has.

    Raises:
        RunFailed: JAX does not start.
    """
    answer = subprocess.run(
        [sys.executable, "-c", _QUESTION], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        lines = answer.stderr.strip().splitlines() or ["no message"]
        raise RunFailed(
            f"JAX does not find the devices of this machine: {lines[-1]}",
            'Correct that, or use "--executor inline".',
        )
    backend, count = answer.stdout.split()[-2:]
    return backend, int(count)


def environments_of(
    backend: str, count: int, processes: int | None
) -> list[Mapping[str, str]]:
    """What each worker's environment has of its own, so that it sees one device.

    Args:
        backend: "cpu", "gpu" or "tpu".
        count: Devices that there are.
        processes: How many workers; None for `count`.

    Raises:
        UserError: More workers than devices, except on a CPU.
    """
    if backend == "cpu":
        return [{"JAX_NUM_CPU_DEVICES": "1"} for _ in range(processes or 1)]
    if processes is not None and processes > count:
        raise UserError(
            f"--executor devices:{processes} wants more devices than there are ({count}).",
            f"Use devices:{count} or fewer.",
        )
    used = range(processes or count)
    if backend == "tpu":
        return [
            {
                "TPU_VISIBLE_CHIPS": str(i),
                "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1",
                "TPU_PROCESS_BOUNDS": "1,1,1",
                "TPU_PROCESS_ADDRESSES": f"localhost:{_TPU_PORT + i}",
                "TPU_PROCESS_PORT": str(_TPU_PORT + i),
                "CLOUD_TPU_TASK_ID": "0",
            }
            for i in used
        ]
    # Whoever lent this process some GPUs only, named them here.
    lent = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    names = lent or [str(i) for i in range(count)]
    return [{"CUDA_VISIBLE_DEVICES": names[i]} for i in used]
