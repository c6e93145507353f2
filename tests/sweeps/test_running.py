"""Cells: run once, whatever happens; and what is made of those that do not finish."""

import json
import subprocess
import sys

import pytest

from remedis_jax.errors import RunFailed, UserError
from remedis_jax.sweeps import report, work
from remedis_jax.sweeps.cells import CellFolder
from remedis_jax.sweeps.executors import Inline
from remedis_jax.sweeps.running import validation_of
from remedis_jax.sweeps.selection import choose
from remedis_jax.sweeps.sweep import run_sweep
from remedis_jax.sweeps.work import work_through
from remedis_jax.training.loop import Preempted


@pytest.fixture(autouse=True)
def no_figure(monkeypatch):
    """The figure takes most of the time of such a sweep, and has tests of its own."""

    def draw(path, *arguments, **settings):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")

    monkeypatch.setattr(report, "grid_figure", draw)


def sweep(grid, out, stand_in, lines=None):
    announce = (lambda line: None) if lines is None else lines.append
    return run_sweep(grid, out, Inline(stand_in.run), announce=announce)


def test_a_finished_sweep_is_left_alone(grid, tmp_path, stand_in):
    sweep(grid, tmp_path / "out", stand_in)
    # Eight points, and the second seed of each arm: the first one's run is the grid's.
    assert len(stand_in.trained) == 8 + 2
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json*")}
    tables = {path: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
    sweep(grid, tmp_path / "out", stand_in)
    assert len(stand_in.trained) == 8 + 2
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.json*")}
    assert tables == {path: path.read_bytes() for path in tables}


def test_more_points_and_seeds_run_those_alone(config, tmp_path, stand_in):
    from remedis_jax.sweeps.grid import Grid

    sweep(Grid.of(config), tmp_path / "out", stand_in)
    config.axes = (
        ("optimizer.learning_rate", (0.01, 0.1, 1.0)), ("optimizer.weight_decay", (0.0, 1e-4)),
    )  # fmt: skip
    config.seeds = (3, 4, 5)
    sweep(Grid.of(config), tmp_path / "out", stand_in)
    new = stand_in.trained[10:]
    assert sum("optimizer.learning_rate=1.0" in run for run in new) == 4
    assert sum("seed=5" in run for run in new) == 2 and len(new) == 6


def test_a_failure_is_recorded_the_others_go_on_and_repeating_tries_it_again(
    grid, tmp_path, stand_in
):
    out = tmp_path / "out"
    stand_in.trouble["learning_rate=0.1 optimizer.weight_decay=0.0 "] = RunFailed(
        "Loss nan at step 3.", "Lower it."
    )
    with pytest.raises(RunFailed, match=r"2 of 12 cells failed: imagenet, learning_rate 0.1"):
        sweep(grid, out, stand_in)
    record = json.loads((out / "sweep.json").read_text())
    assert [arm["cells_failed"] for arm in record["arms"]] == [1, 1]
    assert "Loss nan at step 3" in (out / "report.md").read_text()
    assert len(stand_in.trained) == 6 + 2
    stand_in.trouble.clear()
    lines = []
    sweep(grid, out, stand_in, lines)
    assert "6 of 8 cells are finished, 2 failed before and are tried again" in lines[0]
    assert len(stand_in.trained) == 8 + 2
    name = grid.cells()[2].name
    assert [e["event"] for e in CellFolder(out, name).events()] == [
        "started", "failed", "continued", "finished",
    ]  # fmt: skip


def test_an_arm_that_failed_everywhere_ends_the_sweep_before_any_test(grid, tmp_path, stand_in):
    stand_in.trouble["init=b"] = RunFailed("Loss nan at step 3.", "")
    with pytest.raises(RunFailed, match="All 4 cells of simclr failed; the first: Loss nan"):
        sweep(grid, tmp_path / "out", stand_in)
    assert not (tmp_path / "out/cells/final").exists()


def test_wrong_input_ends_the_sweep_at_once(grid, tmp_path, stand_in):
    stand_in.trouble["init=a"] = UserError("none.csv does not exist.", "Name another.")
    with pytest.raises(UserError, match="none.csv does not exist. Name another."):
        sweep(grid, tmp_path / "out", stand_in)
    assert stand_in.trained == []
    stand_in.trouble.clear()
    sweep(grid, tmp_path / "out", stand_in)
    assert len(stand_in.trained) == 8 + 2


def test_a_run_that_was_stopped_goes_on(grid, tmp_path, stand_in):
    stand_in.trouble["init=a"] = Preempted("Stopped by SIGTERM after step 2 of 6; saved.", "")
    with pytest.raises(Preempted):
        sweep(grid, tmp_path / "out", stand_in)
    first = CellFolder(tmp_path / "out", grid.cells()[0].name)
    (first.sweep / first.cell().run / "checkpoints" / "2").mkdir(parents=True)
    stand_in.trouble.clear()
    sweep(grid, tmp_path / "out", stand_in)
    events = [(event["event"], event["step"]) for event in first.events()]
    assert events == [("started", 0), ("stopped", 0), ("continued", 2), ("finished", 6)]


def test_a_folder_of_another_sweep_is_refused(config, grid, tmp_path, stand_in):
    from remedis_jax.sweeps.grid import Grid

    sweep(grid, tmp_path / "out", stand_in)
    config.arms = (("imagenet", "c"), ("simclr", "b"))
    with pytest.raises(UserError, match="another sweep: command, overrides differ"):
        sweep(Grid.of(config), tmp_path / "out", stand_in)


HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


def test_two_processes_do_not_run_one_cell(grid, tmp_path, stand_in):
    cell = grid.cells()[0]
    folder = CellFolder(tmp_path, cell.name)
    folder.claim(cell)
    lock = tmp_path / cell.name / "lock"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    assert stand_in.run(folder) is None
    work_through([folder], announce=lambda line: None, wait=False, run=stand_in.run)
    assert stand_in.trained == [] and folder.events() == []
    # Who is killed lets it go.
    other.kill()
    other.communicate()
    work_through([folder], announce=lambda line: None, run=stand_in.run)
    assert len(stand_in.trained) == 1 and folder.outcome().status == "finished"


def test_a_cell_that_another_process_leaves_unfinished_is_taken_over(
    grid, tmp_path, stand_in, monkeypatch
):
    folders = []
    for cell in grid.cells()[:3]:
        folders.append(CellFolder(tmp_path, cell.name))
        folders[-1].claim(cell)
    lines, looks = [], []
    with folders[1].locked(grid.cells()[1].run) as ours:
        assert ours

        def look_again(seconds):
            looks.append(len(stand_in.trained))
            raise InterruptedError

        monkeypatch.setattr(work.time, "sleep", look_again)
        with pytest.raises(InterruptedError):
            work_through(folders, announce=lines.append, run=stand_in.run)
    # It waits when nothing else is left to do, and says so.
    assert looks == [2] and lines[-1] == "waiting for 1 cell(s) that another process works on"
    work_through(folders, announce=lines.append, run=stand_in.run)
    assert len(stand_in.trained) == 3


def test_the_best_validation_chooses_and_the_first_of_equals(grid, tmp_path, stand_in):
    stand_in.scores = {
        "init=b optimizer.learning_rate=0.1 optimizer.weight_decay=0.0001": 0.9,
        "init=a optimizer.learning_rate=0.01 optimizer.weight_decay=0.0 ": None,
    }
    lines = []
    sweep(grid, tmp_path / "out", stand_in, lines)
    choices = [line for line in lines if "chosen" in line]
    assert choices == [
        "imagenet: chosen learning_rate 0.01, weight_decay 0.0001, auroc 0.500 (validation), of 3 "
        "cells",
        "simclr: chosen learning_rate 0.1, weight_decay 0.0001, auroc 0.900 (validation), of 4 "
        "cells",
    ]


def test_of_a_loss_the_least_chooses(grid, tmp_path, stand_in):
    stand_in.scores = {"learning_rate=0.1 ": 0.2}
    results = []
    for cell in grid.cells():
        folder = CellFolder(tmp_path, cell.name)
        folder.claim(cell)
        results.append((cell, stand_in.run(folder)))
    chosen = {metric: choose(results, metric)["simclr"].axes for metric in ("auroc", "log_loss")}
    assert dict(chosen["auroc"])["optimizer.learning_rate"] == 0.01
    assert dict(chosen["log_loss"])["optimizer.learning_rate"] == 0.1


def test_a_metric_that_no_cell_has_is_named(grid, tmp_path, stand_in):
    stand_in.scores = {"init": None}
    with pytest.raises(UserError, match="auroc is not defined on the validation rows of any cell"):
        sweep(grid, tmp_path / "out", stand_in)


def test_the_validation_is_that_of_the_step_whose_weights_are_kept(tmp_path):
    rows = [
        {"step": 2, "validation_auroc": 0.8}, {"step": 4, "validation_auroc": 0.7}, {"step": 4},
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "result.json").write_text('{"steps": 4, "seconds": 1}')
    assert validation_of(tmp_path, "auroc") == (0.7, 4)
    (tmp_path / "result.json").write_text('{"steps": 4, "seconds": 1, "best_step": 2}')
    assert validation_of(tmp_path, "auroc") == (0.8, 2)
    assert validation_of(tmp_path, "auprc") == (None, 2)
