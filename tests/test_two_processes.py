"""Two processes train what one does, for every method; and they stop and fail together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from remedis_jax.errors import RunFailed, UserError
from remedis_jax.objectives.methods import METHODS
from remedis_jax.training import processes
from remedis_jax.training.processes import several_expected, start_processes
from tests.test_resume import checkpoint_arrays, history

ROOT = Path(__file__).parents[1]
STAGES = (*METHODS, "supervised")


def environment(devices: int) -> dict[str, str]:
    return os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "REMEDIS_START_SECONDS": "60"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def settings(stage: str, folder: Path) -> tuple[str, list[str]]:
    part = "labelled" if stage == "supervised" else "pool"
    file = "finetune/classify" if stage == "supervised" else f"contrastive/{stage}"
    overrides = [
        f"data.manifest={folder}/{part}/manifest.csv",
        "data.group=patient_id",
        "model.name=r5x0.5",
        "total_steps=3",
        "warmup_steps=0",
        "optimizer.learning_rate=1e-4",
        # The medical recipes compile longer than all else, and have tests of their own.
        "augment.recipe=finetune",
        "augment.options={'crop': 'resize'}",
    ]
    if stage == "simclr":
        labelled = f"monitor.manifest={folder}/labelled/manifest.csv"
        overrides += ["monitor.images=10", "monitor.steps=2", labelled, "monitor.group=patient_id",
                      "monitor.labels=('finding',)"]  # fmt: skip
    if stage == "supervised":
        overrides += ["data.train={'split': 'train'}", "data.validation={'split': 'val'}"]
    return f"experiments/{file}.py:task=phantom,tiny", overrides


def run_all(folder: Path, out: Path, processes: int, devices: int) -> None:
    """Every stage, `processes` processes of `devices` devices each."""
    runs = []
    for stage in STAGES:
        config, overrides = settings(stage, folder)
        runs.append([config, str(out / stage), overrides])
    address = f"127.0.0.1:{free_port()}"
    children = [
        subprocess.Popen(
            [sys.executable, ROOT / "tests" / "process_driver.py", address, str(processes), str(i),
             json.dumps(runs)],
            cwd=ROOT, env=environment(devices), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]  # fmt: skip
    for child in children:
        _, error = child.communicate(timeout=280)
        assert child.returncode == 0, error[-3000:]


@pytest.fixture(scope="module")
def folders(tiny_phantom, tmp_path_factory):
    """The runs of one process with two devices, and of two processes with one device each."""
    out = tmp_path_factory.mktemp("processes")
    run_all(tiny_phantom, out / "one", 1, 2)
    run_all(tiny_phantom, out / "two", 2, 1)
    return out / "one", out / "two"


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_equal_one(folders, stage):
    one, two = (folder / stage for folder in folders)
    want, got = history(one), history(two)
    assert [row["step"] for row in got] == [row["step"] for row in want]
    assert len([row for row in got if "loss" in row]) == 3
    for mine, other in zip(got, want, strict=True):
        assert mine.keys() == other.keys()
        for name in other:
            if name in ("loss", "grad_norm") or name.startswith("monitor_"):
                assert mine[name] == pytest.approx(other[name], rel=1e-5), name
    assert any("monitor_probe_accuracy" in row for row in want) == (stage == "simclr")
    mine, other = checkpoint_arrays(two, 3), checkpoint_arrays(one, 3)
    assert mine.keys() == other.keys()
    for name, values in other.items():
        np.testing.assert_allclose(mine[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


def start_pair(folder: Path, workdir: Path, *sets: str) -> list[subprocess.Popen]:
    """`remedis train` of supervised training in two processes."""
    config, overrides = settings("moco_v2", folder)
    overrides = [o for o in overrides if "model.name" not in o] + list(sets)
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "remedis_jax", "train", "--config", config, "--workdir",
               str(workdir), "--coordinator", address, "--processes", "2"]  # fmt: skip
    for override in overrides:
        command += ["--set", override]
    return [
        subprocess.Popen(
            [*command, "--process-id", str(i)],
            cwd=ROOT, env=environment(1), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for i in range(2)
    ]  # fmt: skip


def wait_for_steps(workdir: Path, count: int, children: list[subprocess.Popen]) -> None:
    limit = time.monotonic() + 200
    path = workdir / "metrics.jsonl"
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert time.monotonic() < limit and all(child.poll() is None for child in children)
        time.sleep(0.02)


def test_a_signal_to_one_stops_both_at_one_step_and_a_lost_one_ends_the_other(
    tiny_phantom, tmp_path
):
    endless = ("total_steps=100000", "checkpoint_steps=100000")
    children = start_pair(tiny_phantom, tmp_path / "run", *endless)
    wait_for_steps(tmp_path / "run", 3, children)
    children[1].send_signal(signal.SIGTERM)
    errors = [child.communicate(timeout=120)[1] for child in children]
    assert [child.returncode for child in children] == [75, 75], errors
    assert all("Repeat the command" in error and "Traceback" not in error for error in errors)
    saved = [int(p.name) for p in (tmp_path / "run/checkpoints").iterdir() if p.name.isdigit()]
    assert len(saved) == 1

    # The same commands go on from there; then process 1 is killed.
    children = start_pair(tiny_phantom, tmp_path / "run", *endless)
    wait_for_steps(tmp_path / "run", saved[0] + 3, children)
    children[1].kill()
    error = children[0].communicate(timeout=200)[1]
    assert children[0].returncode == 1
    assert "Another process of this run has ended" in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("maybe",), "maybe"),
        (("auto", "localhost:1", None, None), "some are missing"),
        (("auto", "localhost", 2, 0), "HOST:PORT"),
        (("auto", "localhost:1", 2, 2), "none of 2 processes"),
        (("off", "localhost:1", 2, 0), "off"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        start_processes(*arguments)


@pytest.mark.parametrize(
    ("variables", "several"),
    [
        ({}, False),
        ({"SLURM_NTASKS": "4"}, False),  # A batch script that has not called srun.
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"}, True),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"}, False),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_PROCESS_ADDRESSES": "10.0.0.1:8476,10.0.0.2:8476"}, True),
    ],
)
def test_several_processes_are_recognised(variables, several):
    assert several_expected(variables) is several


def test_a_tpu_machine_asks_its_metadata(monkeypatch):
    """A Compute Engine TPU says nothing in its environment; jax reads who is there."""
    monkeypatch.setattr(processes, "_has_tpu", lambda: True)
    assert several_expected({})
    assert not several_expected({"TPU_SKIP_MDS_QUERY": "1"})
    assert not several_expected({"TPU_WORKER_HOSTNAMES": "localhost"})


def test_any_error_in_one_process_is_told_to_the_others(monkeypatch):
    told = []
    monkeypatch.setattr(processes, "any_process", lambda flag: told.append(flag) or True)
    with pytest.raises(ZeroDivisionError), processes.together():
        _ = 1 / 0
    with pytest.raises(RunFailed, match="Another process"), processes.together():
        pass
    assert told == [True, False]
