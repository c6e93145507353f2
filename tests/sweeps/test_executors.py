"""Where cells are run: chosen by a word, each device by itself, and through a scheduler's queue."""

import os
import signal
import subprocess
import sys
import time

import pytest

from remedis_jax.errors import RunFailed, UserError
from remedis_jax.sweeps import cluster, devices
from remedis_jax.sweeps.cells import CellFolder, Outcome
from remedis_jax.sweeps.cluster import CellsJob, Cluster
from remedis_jax.sweeps.devices import Devices, environments_of
from remedis_jax.sweeps.executors import Inline, make_executor
from remedis_jax.sweeps.watching import Watch
from remedis_jax.training.loop import Preempted

QUIET = {"announce": lambda line: None}


def test_the_word_on_the_command_line_chooses():
    assert make_executor() == Inline()
    assert make_executor("devices") == Devices(None)
    assert make_executor("devices:3") == Devices(3)
    assert make_executor("local:2", cells_per_job=4) == Cluster("local", {}, 4, 2, True)
    chosen = make_executor(
        "slurm", parameters=("timeout_min=60", "slurm_partition=gpu"), wait=False
    )
    assert chosen == Cluster("slurm", {"timeout_min": 60, "slurm_partition": "gpu"}, 1, 1, False)


MISTAKES = {
    "device": (("device",), {}, "Did you mean 'devices'?"),
    "devices:no": (("devices:no",), {}, "devices:no is not possible"),
    "slurm:4": (("slurm:4",), {}, "slurm:4 is not possible"),
    "inline with parameters": (("inline",), {"parameters": ("a=1",)}, "submits no jobs"),
    "parameter": (("slurm",), {"parameters": ("timeout",)}, "'timeout' has no value"),
    "cells": (("slurm",), {"cells_per_job": 0}, "--cells-per-job 0"),
    "no wait": (("local",), {"wait": False}, "--no-wait is not possible with local"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_executor_that_cannot_be_is_named(mistake):
    arguments, settings, named = MISTAKES[mistake]
    with pytest.raises(UserError, match=named):
        make_executor(*arguments, **settings)


def test_each_worker_sees_one_device(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen = environments_of("gpu", 4, None)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in seen] == ["0", "1", "2", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in environments_of("gpu", 2, 2)] == ["5", "7"]
    chips = environments_of("tpu", 4, 3)
    assert [one["TPU_VISIBLE_CHIPS"] for one in chips] == ["0", "1", "2"]
    assert len({one["TPU_PROCESS_PORT"] for one in chips}) == 3
    assert environments_of("cpu", 1, 3) == [{"JAX_NUM_CPU_DEVICES": "1"}] * 3
    with pytest.raises(UserError, match="more devices than there are"):
        environments_of("gpu", 2, 3)


@pytest.fixture
def folders(grid, tmp_path):
    made = []
    for cell in grid.cells()[:4]:
        made.append(CellFolder(tmp_path / "out", cell.name))
        made[-1].claim(cell)
    return made


@pytest.fixture
def worker_script(monkeypatch):
    """Puts a script in the place of the worker: `worker_script(text)`."""

    def replace(text):
        def start(sweep, names, *, environment=None, output=None):
            return subprocess.Popen(
                [sys.executable, "-c", text, *(str(sweep / name) for name in names)],
                stdout=output or subprocess.PIPE,
            )

        for module in (devices, cluster):
            monkeypatch.setattr(module, "start_worker", start)

    monkeypatch.setattr(devices, "local_devices", lambda: ("cpu", 1))
    return replace


def test_workers_that_end_without_an_outcome_are_told_of(folders, worker_script, tmp_path):
    worker_script("raise SystemExit(3)")
    with pytest.raises(RunFailed, match=r"4 cell\(s\) have no outcome: imagenet, learning_rate"):
        Devices(2).run(tmp_path / "out", folders, **QUIET)


def test_wrong_input_in_a_worker_ends_the_others(folders, worker_script, tmp_path):
    worker_script(
        "import json, sys, time\n"
        "open(sys.argv[1] + '/outcome.json', 'w').write(json.dumps("
        "{'status': 'refused', 'problem': 'none.csv does not exist.', 'remedy': 'Name it.'}))\n"
        "time.sleep(600)"
    )
    start = time.monotonic()
    with pytest.raises(UserError, match="seed 3: none.csv does not exist. Name it."):
        Devices(2).run(tmp_path / "out", folders, **QUIET)
    assert time.monotonic() - start < 60


def test_a_watch_counts_and_estimates(folders):
    lines = []
    watch = Watch(folders, lines.append)
    assert watch.look() == 4 and lines == []
    folders[0].write_outcome(Outcome("finished", 0.5))
    folders[1].write_outcome(Outcome("failed", problem="x"))
    folders[2].note("started", 0)
    assert watch.look() == 2
    assert lines[0].startswith("1 of 4 cells done, 1 running, 1 failed; ")


OBEDIENT = """
import signal, sys, time
def stop(*_):
    time.sleep(0.3)
    open(sys.argv[1] + "/saved", "w").close()
    sys.exit(75)
signal.signal(signal.SIGINT, stop)
print("ready", flush=True)
time.sleep(600)
"""


def send_later(number):
    """A process that sends this one a signal in a second."""
    waiting = "import os, sys, time; time.sleep(1); os.kill(int(sys.argv[1]), int(sys.argv[2]))"
    return subprocess.Popen([sys.executable, "-c", waiting, str(os.getpid()), str(int(number))])


def test_a_signal_to_the_command_stops_its_workers_and_waits_for_them(
    folders, worker_script, tmp_path
):
    worker_script(OBEDIENT)
    scheduler = send_later(signal.SIGTERM)
    with pytest.raises(Preempted, match="Stopped by SIGTERM"):
        Devices(2).run(tmp_path / "out", folders, **QUIET)
    scheduler.communicate()
    assert (folders[0].path / "saved").exists()


def test_preemption_waits_for_the_worker_and_asks_for_the_same_cells(
    folders, worker_script, tmp_path
):
    worker_script(OBEDIENT)
    names = tuple(str(folder.path.relative_to(tmp_path / "out")) for folder in folders)
    job = CellsJob(str(tmp_path / "out"), names)
    answers = []

    def preempt(*_):
        answers.append(job.checkpoint())
        raise SystemExit(-1)  # as submitit does once the job is in the queue again

    previous = signal.signal(signal.SIGUSR2, preempt)
    scheduler = send_later(signal.SIGUSR2)
    try:
        with pytest.raises(SystemExit) as ended:
            job()
    finally:
        scheduler.communicate()
        signal.signal(signal.SIGUSR2, previous)
    assert ended.value.code == -1 and (folders[0].path / "saved").exists()
    again = answers[0].function
    assert (again.sweep, again.cells) == (job.sweep, job.cells) and again._worker is None


def test_a_job_whose_worker_was_stopped_leaves_the_verdict_to_the_scheduler(
    folders, worker_script, tmp_path
):
    job = CellsJob(str(tmp_path / "out"), ("x",))
    for script in ("raise SystemExit(75)", "import os; os.kill(os.getpid(), 15)"):
        worker_script(script)
        with pytest.raises(SystemExit) as ended:
            job()
        assert ended.value.code == 75
    worker_script("raise SystemExit(0)")
    assert job() == 0


def test_submitit_may_be_absent(folders, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"needs submitit.*remedis_jax\[cluster\]"):
        Cluster("local").run(tmp_path / "out", folders, **QUIET)


def test_a_parameter_that_submitit_lacks_is_named(folders, tmp_path):
    with pytest.raises(UserError, match="--executor-set: .*minutes"):
        Cluster("local", {"local_minutes": 5}).run(tmp_path / "out", folders, **QUIET)


def test_slurm_may_be_absent(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="--executor slurm: .*srun"):
        Cluster("slurm").run(tmp_path / "out", folders, **QUIET)


SBATCH = """#!/bin/sh
for last; do :; done
cp "$last" "$SLURM_SPOOL/script"
echo RUNNING > "$SLURM_SPOOL/state"
echo >> "$SLURM_SPOOL/submitted"
echo "Submitted batch job 77"
"""
SACCT = """#!/bin/sh
state=$(cat "$SLURM_SPOOL/state")
echo "JobID|State|NodeList"
echo "77_0|$state|node1"
echo "77_1|$state|node1"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A queue that keeps what it is given and says of it what the file `state` says."""
    from submitit import SlurmJob

    spool = tmp_path / "spool"
    (spool / "bin").mkdir(parents=True)
    for name, text in (("sbatch", SBATCH), ("sacct", SACCT), ("srun", "#!/bin/sh\n")):
        (spool / "bin" / name).write_text(text)
        (spool / "bin" / name).chmod(0o755)
    monkeypatch.setenv("SLURM_SPOOL", str(spool))
    monkeypatch.setenv("PATH", f"{spool / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(cluster, "_LOOK_SECONDS", {"local": 0.01, "slurm": 0.01})
    monkeypatch.setattr(cluster, "_GRACE_SECONDS", {"local": 0.0, "slurm": 0.1})
    SlurmJob.watcher.clear()
    monkeypatch.setattr(SlurmJob.watcher, "_delay_s", 0)
    return spool


def test_a_slurm_array_is_submitted_once_and_picked_up(folders, slurm, tmp_path, stand_in):
    out, parameters = tmp_path / "out", {"slurm_partition": "gpu", "timeout_min": 30}
    lines = []
    go = Cluster("slurm", parameters, cells_per_job=2, wait=False)
    assert not go.run(out, folders, lines.append)
    script = (slurm / "script").read_text()
    for line in ("--array=0-1%", "--partition=gpu", "--time=30", "--job-name=remedis"):
        assert f"#SBATCH {line}" in script
    assert lines == ["4 cell(s) submitted as 2 job(s), first 77_0"]
    # The same command again finds them in the queue.
    assert not go.run(out, folders, lines.append)
    assert lines[1:] == ["4 cell(s) are in the queue already"]
    assert (slurm / "submitted").read_text().count("\n") == 1
    # One that waits collects what they leave.
    for folder in folders:
        stand_in.run(folder)
    assert Cluster("slurm", parameters).run(out, folders, lines.append)
    assert "4 of 4 cells done" in lines[-1]
    assert (slurm / "submitted").read_text().count("\n") == 1


def test_slurm_jobs_that_end_without_an_outcome_are_told_of_and_submitted_again(
    folders, slurm, tmp_path
):
    from submitit import SlurmJob

    out = tmp_path / "out"
    Cluster("slurm", cells_per_job=2, wait=False).run(out, folders, **QUIET)
    (slurm / "state").write_text("CANCELLED")
    SlurmJob.watcher.clear()
    Cluster("slurm", cells_per_job=2, wait=False).run(out, folders, **QUIET)
    assert (slurm / "submitted").read_text().count("\n") == 2
    (slurm / "state").write_text("NODE_FAIL")
    SlurmJob.watcher.clear()
    SlurmJob.watcher._finished.clear()
    with pytest.raises(RunFailed, match=r"4 cell\(s\) have no outcome"):
        (slurm / "bin" / "sbatch").write_text(SBATCH.replace("RUNNING", "NODE_FAIL"))
        Cluster("slurm", cells_per_job=2).run(out, folders, **QUIET)
