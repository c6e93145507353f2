"""Cells as jobs of a scheduler, through submitit: a SLURM array, or processes of this machine.

A job is a small process that starts a worker and answers the scheduler. When the scheduler is
about to take the machine away, submitit calls `CellsJob.checkpoint`: the worker saves what it has
and ends with 75, and the same cells are put into the queue again, where they go on.
"""

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from remedis_jax.errors import UserError
from remedis_jax.sweeps.cells import REFUSED, CellFolder
from remedis_jax.sweeps.watching import Watch, require_outcomes
from remedis_jax.sweeps.worker import STOPPED, start_worker, stop_worker
from remedis_jax.training.loop import Preempted
from remedis_jax.training.stop_signal import StopSignal
from remedis_jax.training.workdir import write_json

Announce = Callable[[str], None]
JOBS = "jobs"
# ours: submitit's own limit is five minutes. A job that meets its limit goes on in a new one.
_PARAMETERS = {"timeout_min": 600, "name": "remedis"}
_LOOK_SECONDS = {"local": 0.2, "slurm": 5.0}
# ours: for how long files of another machine may stay unseen on a network's file system.
_GRACE_SECONDS = {"local": 0.0, "slurm": 30.0}


class CellsJob:
    """What a job does: a worker process for some cells.

    Args:
        sweep: The sweep's folder.
        cells: Names of the cells.
    """

    def __init__(self, sweep: str, cells: Sequence[str]):
        self.sweep, self.cells = sweep, tuple(cells)
        self._worker = None

    def __call__(self) -> int:
        """Runs the worker; returns its exit code, or ends the process where it was stopped."""
        self._worker = start_worker(Path(self.sweep), self.cells)
        while self._worker.poll() is None:
            # Not wait(), which a signal's handler that waits as well would block for ever.
            time.sleep(_LOOK_SECONDS["local"])
        if self._worker.returncode == STOPPED or self._worker.returncode < 0:
            # No result is left: whether the job is over is for the scheduler to say, who may have
            # stopped it to run it again.
            sys.exit(STOPPED)
        return self._worker.returncode

    def checkpoint(self):
        """Called by submitit in a signal's handler: stops the worker, asks to be run again."""
        from submitit.helpers import DelayedSubmission

        if self._worker is not None and self._worker.returncode is None:
            stop_worker(self._worker)
            # Waits and leaves the exit code to `poll`, in which the signal may have come.
            os.waitid(os.P_PID, self._worker.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(CellsJob(self.sweep, self.cells))


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Jobs of submitit.

    Attributes:
        cluster: "slurm" or "local".
        parameters: Of `submitit.AutoExecutor`, e.g. timeout_min, slurm_partition, gpus_per_node.
        cells_per_job: Cells that a job runs, one after another.
        at_once: Jobs of "local" at a time; SLURM has slurm_array_parallelism for that.
        wait: Whether to wait for the jobs.
    """

    cluster: str
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cells_per_job: int = 1
    at_once: int = 1
    wait: bool = True

    def run(self, sweep: Path, folders: Sequence[CellFolder], announce: Announce) -> bool:
        """As `executors.Executor.run`."""
        executor = self._executor(sweep)
        queued = self._queued(sweep, folders) if self.cluster == "slurm" else {}
        new = [folder for folder in folders if folder.path not in queued]
        parts = [
            new[i : i + self.cells_per_job] for i in range(0, len(new), self.cells_per_job)
        ]
        if queued:
            announce(f"{len(queued)} cell(s) are in the queue already")
        jobs = list({job.job_id: job for job in queued.values()}.values())
        if self.cluster == "slurm" and parts:
            made = executor.submit_array([self._job(sweep, part) for part in parts])
            for job, part in zip(made, parts, strict=True):
                for folder in part:
                    write_json(folder.path / "job.json", {"job": job.job_id})
            announce(f"{len(new)} cell(s) submitted as {len(made)} job(s), first {made[0].job_id}")
            jobs, parts = jobs + made, []
        if not self.wait:
            return False
        self._watch(executor, sweep, folders, jobs, parts, announce)
        require_outcomes(folders, [sweep / JOBS])
        return True

    def _watch(
        self,
        executor: Any,
        sweep: Path,
        folders: Sequence[CellFolder],
        jobs: list[Any],
        parts: list[Sequence[CellFolder]],
        announce: Announce,
    ) -> None:
        """Submits what is left, a few at a time, and returns when nothing more will come."""
        watch, over_since = Watch(folders, announce), None
        with StopSignal() as stop:
            while watch.look() and not any(o.status == REFUSED for o in watch.outcomes()):
                going = [job for job in jobs if not job.done()]
                while parts and len(going) < self.at_once:
                    going.append(executor.submit(self._job(sweep, parts.pop(0))))
                    jobs.append(going[-1])
                if stop.received:
                    raise self._stopped(stop, going)
                if going:
                    over_since = None
                elif over_since is None:
                    over_since = time.monotonic()
                elif time.monotonic() - over_since >= _GRACE_SECONDS[self.cluster]:
                    return
                time.sleep(_LOOK_SECONDS[self.cluster])

    def _stopped(self, stop: StopSignal, going: Sequence[Any]) -> Preempted:
        if self.cluster == "local":
            for job in going:
                job.cancel()
            what = "the jobs have been told to stop"
        else:
            what = f"{len(going)} job(s) go on in the queue"
        return Preempted(f"Stopped by {stop.received}; {what}.", "Repeat the command to go on.")

    def _job(self, sweep: Path, part: Sequence[CellFolder]) -> CellsJob:
        return CellsJob(
            str(sweep.absolute()), [str(folder.path.relative_to(sweep)) for folder in part]
        )

    def _executor(self, sweep: Path) -> Any:
        """submitit's executor with our parameters.

        Raises:
            UserError: submitit or the scheduler is absent, or a parameter does not exist.
        """
        try:
            import submitit
        except ImportError as error:
            raise UserError(
                f"--executor {self.cluster} needs submitit, which is not installed.",
                "pip install 'remedis_jax[cluster]'.",
            ) from error
        try:
            executor = submitit.AutoExecutor(folder=sweep / JOBS, cluster=self.cluster)
        except RuntimeError as error:
            raise UserError(
                f"--executor {self.cluster}: {_one_line(error)}",
                "Run the command on a machine from which jobs are submitted, or use another.",
            ) from error
        try:
            executor.update_parameters(**(_PARAMETERS | dict(self.parameters)))
        except (AssertionError, NameError, TypeError, ValueError) as error:
            raise UserError(
                f"--executor-set: {_one_line(error)}", "See submitit's AutoExecutor."
            ) from error
        return executor

    def _queued(self, sweep: Path, folders: Sequence[CellFolder]) -> dict[Path, Any]:
        """Cells that an earlier command has submitted and that are still to come."""
        from submitit import SlurmJob

        known: dict[str, Any] = {}
        queued = {}
        for folder, job_id in _submitted(folders):
            if job_id not in known:
                known[job_id] = SlurmJob(sweep / JOBS, job_id)
            if not known[job_id].done():
                queued[folder.path] = known[job_id]
        return queued


def _submitted(folders: Sequence[CellFolder]) -> Iterator[tuple[CellFolder, str]]:
    for folder in folders:
        path = folder.path / "job.json"
        if path.is_file():
            yield folder, json.loads(path.read_text(encoding="utf-8"))["job"]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
