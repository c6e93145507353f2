"""Real runs: a grid that is killed three times, and the same one as jobs that are preempted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from remedis_jax import api
from remedis_jax.api.sweeps import run_sweep
from remedis_jax.models import bit

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STEPS = 6
# All cells are one compiled step: the rate is an argument of it.
RATES = "0.0003;0.001;0.003;0.01;0.03;0.1"
OVERRIDES = (
    f"total_steps={STEPS}", "warmup_steps=1", "checkpoint_steps=2", "validation_steps=3",
    "devices=1",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def depths():
    """What one_stage.py adds to the known networks is gone afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bit.UNITS, 5, (1,))
        yield


@pytest.fixture(scope="module")
def config(tiny_phantom, tmp_path_factory):
    """The sweep of twelve cells: two arms, one from random weights and one from a run."""
    start = tmp_path_factory.mktemp("start") / "run"
    base = f"task=phantom,stem=cifar_stride2,manifest={tiny_phantom}/labelled/manifest.csv,tiny"
    api.train(
        f"{HERE / 'one_stage.py'}:{base},protocol=grid-point,select=best", start,
        overrides=(*OVERRIDES, "seed=7"),
    )  # fmt: skip
    return (
        f"{HERE / 'one_stage_grid.py'}:task=classify,"
        f"manifest={tiny_phantom}/labelled/manifest.csv,arms=random=;trained={start},rates={RATES},decays=1e-4,seeds=0;1,"
        "metric=auroc,options=task=phantom;stem=cifar_stride2,tiny"
    )


def outcomes(out: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in out.glob("cells/*/*/outcome.json")}


def start(config, out) -> subprocess.Popen:
    command = [
        sys.executable, "-m", "remedis_jax", "sweep", "--config", config, "--out", str(out),
    ]  # fmt: skip
    command += [part for override in OVERRIDES for part in ("--set", override)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def signal_when(process, moment, number):
    """Sends a signal as soon as `moment()` is true; returns the exit code."""
    limit = time.monotonic() + 240
    while True:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < limit, "the sweep makes no progress"
        if moment():
            # It stands still while we make sure, or the moment may have passed on a busy machine.
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.02)
            if moment():
                break
            process.send_signal(signal.SIGCONT)
        time.sleep(0.001)
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=240)
    return process.returncode


def running(out: Path, phase: str) -> list[Path]:
    """Cells that have begun and have no outcome."""
    return [
        path.parent
        for path in out.glob(f"cells/{phase}/*/events.jsonl")
        if not (path.parent / "outcome.json").exists()
    ]


def steps_of(cell: Path) -> list[int]:
    path = cell / "run" / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [row["step"] for row in map(json.loads, filter(_whole, lines)) if "loss" in row]


def _whole(line: str) -> bool:
    return line.endswith("}")


def events_of(cell: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (cell / "events.jsonl").read_text().splitlines()]


def comparable(out: Path) -> str:
    """cells.csv without the one column of times."""
    return pd.read_csv(out / "cells.csv", dtype=str).drop(columns="seconds").to_csv()


@pytest.fixture(scope="module")
def killed(config, tmp_path_factory):
    """The folder of a sweep that was killed three times, and what had been finished each time."""
    out = tmp_path_factory.mktemp("killed") / "out"
    finished = []

    def middle_of_a_cell():
        return len(outcomes(out)) >= 2 and any(len(steps_of(c)) >= 2 for c in running(out, "grid"))

    def between_cells():
        return len(outcomes(out)) >= 8

    def final_phase():
        # The one that is trained: the other seed's run is the grid's.
        return any(cell.name.endswith("seed=1") for cell in running(out, "final"))

    for moment, number, codes in (
        (middle_of_a_cell, signal.SIGKILL, {-signal.SIGKILL}),
        # 75 if the next cell is in its steps already.
        (between_cells, signal.SIGTERM, {-signal.SIGTERM, 75}),
        (final_phase, signal.SIGKILL, {-signal.SIGKILL}),
    ):
        assert signal_when(start(config, out), moment, number) in codes
        assert not (out / "sweep.json").exists()
        finished.append(outcomes(out))
    last = start(config, out)
    text, _ = last.communicate(timeout=240)
    assert last.returncode == 0, text
    return out, finished


def test_every_cell_was_run_once(killed):
    out, finished = killed
    cells = sorted(out.glob("cells/*/*"))
    assert [cell.parent.name for cell in cells] == ["final"] * 4 + ["grid"] * 12
    for cell in cells:
        events = events_of(cell)
        # Begun once, finished once; in between it may have gone on where it was killed.
        assert events[0] == "started" and events.count("started") == 1
        assert events[-1] == "finished" and events.count("finished") == 1
        if (cell / "run").exists():
            assert steps_of(cell) == list(range(1, STEPS + 1))
    interrupted = [cell for cell in cells if "continued" in events_of(cell)]
    assert 2 <= len(interrupted) <= 3
    # What was finished when it was killed was not touched again.
    sizes = [len(at_kill) for at_kill in finished]
    assert 2 <= sizes[0] < 8 <= sizes[1] < 12 < sizes[2] < 16
    now = outcomes(out)
    for at_kill in finished:
        assert at_kill.items() <= now.items()


def test_a_finished_sweep_is_read_and_not_run(killed, config):
    out, _ = killed
    before = {path: path.read_bytes() for path in (out / "cells").rglob("*.json*")}
    tables = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    run_sweep(config, out, overrides=OVERRIDES, announce=lambda line: None)
    assert before == {path: path.read_bytes() for path in (out / "cells").rglob("*.json*")}
    assert tables == {path: path.read_bytes() for path in tables}


def test_the_jobs_of_submitit_give_the_same_table(killed, config, tmp_path):
    """One of them is preempted, as SLURM does: the job saves, is queued again, and goes on."""
    out = tmp_path / "out"
    preempted = []

    def announce(line):
        if preempted or not line.startswith(("4 of 12", "5 of 12", "6 of 12")):
            return
        # All cells so far are of one worker, whose parent is the job.
        events = next(out.glob("cells/grid/*/events.jsonl")).read_text()
        worker = json.loads(events.splitlines()[0])["pid"]
        status = Path(f"/proc/{worker}/status").read_text()
        job = int(status.split("PPid:")[1].split()[0])
        os.kill(job, signal.SIGUSR2)
        preempted.append(job)

    run_sweep(
        config, out, overrides=OVERRIDES, executor="local", cells_per_job=12, announce=announce
    )
    assert preempted and len({path.name for path in (out / "jobs").glob("*_submitted.pkl")}) == 2
    assert comparable(out) == comparable(killed[0])
    assert (out / "table.md").read_bytes() == (killed[0] / "table.md").read_bytes()
    for path in out.glob("cells/**/predictions.csv"):
        assert path.read_bytes() == (killed[0] / path.relative_to(out)).read_bytes()
    assert all(events_of(cell)[-1] == "finished" for cell in out.glob("cells/*/*"))
