"""Killed anywhere and started again with the same command, a run ends with the same bits."""

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from remedis_jax.weights.artifact import flatten, load_artifact

ROOT = Path(__file__).parents[1]


def command(folder: Path, workdir: Path, config: str, *sets: str) -> list[str]:
    base = [
        sys.executable, "-m", "remedis_jax", "train", "--config", config, "--workdir",
        str(workdir), "--set", f"data.manifest={folder}/pool/manifest.csv", "--set", "devices=1",
    ]  # fmt: skip
    return base + [part for text in sets for part in ("--set", text)]


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def start_and_signal(arguments: list[str], workdir: Path, after: int, number: int, delay: float):
    """Starts a command, waits until `after` steps are logged, then sends a signal."""
    process = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    limit = time.monotonic() + 240
    while lines_in(workdir / "metrics.jsonl") < after and process.poll() is None:
        assert time.monotonic() < limit, "the run makes no progress"
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(number)
    _, error = process.communicate(timeout=240)
    return process.returncode, error.decode()


def finish(arguments: list[str]) -> None:
    result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stderr


def fingerprint(workdir: Path) -> str:
    return hashlib.sha256((workdir / "weights.safetensors").read_bytes()).hexdigest()


def checkpoint_arrays(workdir: Path, step: int) -> dict[str, np.ndarray]:
    """Every array of a checkpoint by its path."""
    path = (workdir / "checkpoints" / str(step) / "state").absolute()
    with ocp.PyTreeCheckpointer() as reader:
        leaves = reader.metadata(path).item_metadata.tree
        # As numpy arrays: the devices they were saved from may not be here.
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), leaves)
        tree = reader.restore(path, ocp.args.PyTreeRestore(restore_args=as_numpy))
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def history(workdir: Path) -> list[dict]:
    """The metrics without the timings."""
    timings = ("examples_per_second", "monitor_seconds", "validation_seconds")
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in timings} for row in rows]


CONTRASTIVE = "experiments/contrastive/simclr.py:task=phantom,tiny"
SETTINGS = ("total_steps=60", "data.group=patient_id")


@pytest.fixture(scope="module")
def uninterrupted(tiny_phantom, tmp_path_factory):
    """The folder of a run of 60 steps that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    finish(command(tiny_phantom, workdir, CONTRASTIVE, *SETTINGS, "checkpoint_steps=7"))
    return workdir


def test_sigkill_at_three_moments_changes_no_bit(tiny_phantom, tmp_path, uninterrupted):
    broken = tmp_path / "broken"
    arguments = command(tiny_phantom, broken, CONTRASTIVE, *SETTINGS, "checkpoint_steps=7")
    moments = random.Random(0)
    for earliest in (3, 20, 40):
        after = earliest + moments.randrange(10)
        code, _ = start_and_signal(
            arguments, broken, after, signal.SIGKILL, delay=moments.uniform(0, 0.02)
        )
        assert code == -signal.SIGKILL, "the run ended before it was killed"
        assert not (broken / "result.json").exists()
        assert lines_in(broken / "metrics.jsonl") >= after
    finish(arguments)
    assert fingerprint(broken) == fingerprint(uninterrupted)
    assert history(broken) == history(uninterrupted)
    assert [row["step"] for row in history(broken)] == list(range(1, 61))


def test_sigterm_saves_and_the_same_command_goes_on(tiny_phantom, tmp_path, uninterrupted):
    stopped = tmp_path / "stopped"
    arguments = command(tiny_phantom, stopped, CONTRASTIVE, *SETTINGS, "checkpoint_steps=1000")
    code, error = start_and_signal(arguments, stopped, 5, signal.SIGTERM, delay=0)
    assert code == 75 and "Repeat the command" in error and "Traceback" not in error
    steps = [int(path.name) for path in (stopped / "checkpoints").iterdir() if path.name.isdigit()]
    assert len(steps) == 1 and steps[0] >= 5
    finish(arguments)
    # The card holds the config, which differs in checkpoint_steps; the tensors must not.
    ours, theirs = (
        flatten(load_artifact(folder).params) for folder in (stopped, uninterrupted)
    )
    for name, values in theirs.items():
        assert values.tobytes() == ours[name].tobytes(), name


@pytest.mark.parametrize("method", ["moco_v2", "moco_v3"])
def test_queue_target_network_and_statistics_survive_a_kill(tiny_phantom, tmp_path, method):
    """Every array of the last checkpoint: queue and pointer; target network, batch statistics."""
    config = f"experiments/contrastive/{method}.py:task=phantom,tiny"
    sets = (
        "total_steps=30", "checkpoint_steps=7", "augment.recipe=finetune",
        "augment.options={'crop': 'resize'}", "monitor.images=8", "monitor.steps=4",
    )  # fmt: skip
    finish(command(tiny_phantom, tmp_path / "whole", config, *sets))
    arguments = command(tiny_phantom, tmp_path / "broken", config, *sets)
    code, _ = start_and_signal(arguments, tmp_path / "broken", 12, signal.SIGKILL, delay=0.005)
    assert code == -signal.SIGKILL and not (tmp_path / "broken" / "result.json").exists()
    # Going on with another alarm is allowed: no weight depends on it.
    finish([*arguments, "--set", "alarm.action=stop"])
    whole, broken = (checkpoint_arrays(tmp_path / name, 30) for name in ("whole", "broken"))
    wanted = {
        "moco_v2": ("'queue'", "'pointer'", "'target'"),
        "moco_v3": ("'target'", "'batch_stats'", "'target_batch_stats'", "'step'"),
    }
    for part in wanted[method]:
        assert any(f"['model_state'][{part}]" in name for name in whole), part
    assert whole.keys() == broken.keys()
    for name, values in whole.items():
        assert values.tobytes() == broken[name].tobytes(), name
    assert history(tmp_path / "whole") == history(tmp_path / "broken")
    whole, broken = (tmp_path / name / "histograms.jsonl" for name in ("whole", "broken"))
    assert whole.read_bytes() == broken.read_bytes()


def test_a_finished_run_is_left_alone(tiny_phantom, uninterrupted):
    before = (uninterrupted / "weights.safetensors").stat().st_mtime_ns
    finish(command(tiny_phantom, uninterrupted, CONTRASTIVE, *SETTINGS, "checkpoint_steps=7"))
    assert (uninterrupted / "weights.safetensors").stat().st_mtime_ns == before
