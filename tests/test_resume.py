"""Killed anywhere and started again with the same command, a run ends with the same bits."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


def history(workdir: Path) -> list[dict]:
    """The metrics without the timings."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "examples_per_second"} for row in rows]


CONTRASTIVE = "experiments/contrastive/simclr.py:task=phantom,tiny"
SETTINGS = ("total_steps=60", "checkpoint_steps=7", "data.group=patient_id", "ema_decay=0.9")


def test_sigkill_at_three_moments_changes_no_bit(tiny_phantom, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(command(tiny_phantom, whole, CONTRASTIVE, *SETTINGS))
    moments = random.Random(0)
    reached = 0
    for earliest in (3, 20, 40):
        after = earliest + moments.randrange(10)
        code, _ = start_and_signal(
            command(tiny_phantom, broken, CONTRASTIVE, *SETTINGS),
            broken,
            after=after,
            number=signal.SIGKILL,
            delay=moments.uniform(0, 0.02),
        )
        assert code == -signal.SIGKILL, "the run ended before it was killed"
        assert not (broken / "result.json").exists()
        assert lines_in(broken / "metrics.jsonl") >= after > reached
        reached = after
    finish(command(tiny_phantom, broken, CONTRASTIVE, *SETTINGS))
    assert fingerprint(broken) == fingerprint(whole)
    assert history(broken) == history(whole)
    assert [row["step"] for row in history(broken)] == list(range(1, 61))


def test_sigterm_saves_and_the_same_command_goes_on(tiny_phantom, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    settings = ("total_steps=40", "checkpoint_steps=1000", "data.group=patient_id")
    finish(command(tiny_phantom, whole, CONTRASTIVE, *settings))
    code, error = start_and_signal(
        command(tiny_phantom, stopped, CONTRASTIVE, *settings), stopped, 5, signal.SIGTERM, 0
    )
    assert code == 75 and "Repeat the command" in error and "Traceback" not in error
    steps = [int(path.name) for path in (stopped / "checkpoints").iterdir() if path.name.isdigit()]
    assert len(steps) == 1 and steps[0] >= 5
    finish(command(tiny_phantom, stopped, CONTRASTIVE, *settings))
    assert fingerprint(stopped) == fingerprint(whole)


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
def test_a_finished_run_is_left_alone(tiny_phantom, tmp_path):
    arguments = command(tiny_phantom, tmp_path / "run", CONTRASTIVE)
    finish(arguments)
    before = (tmp_path / "run" / "weights.safetensors").stat().st_mtime_ns
    finish(arguments)
    assert (tmp_path / "run" / "weights.safetensors").stat().st_mtime_ns == before
