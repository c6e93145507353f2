"""Benchmarks run; what they measure is for the machine that they are run on."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_nt_xent_compares_all_sides(tmp_path):
    path = tmp_path / "rows.jsonl"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "nt_xent.py", "--small", "--json", path],
        cwd=ROOT, env=os.environ | {"JAX_NUM_CPU_DEVICES": "8"}, capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for side in ("ours ", "ours, ring", "naive", "optax"):
        assert f"  {side}" in done.stdout, side
    assert len(path.read_text().splitlines()) == done.stdout.count("   256 ")


def test_embed_runs_without_a_peer(tmp_path):
    path = tmp_path / "rows.jsonl"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "embed.py", "--small", "--json", path],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "remedis_jax" in done.stdout and "images/s" in done.stdout
    assert len(path.read_text().splitlines()) == 1
