"""Benchmarks run; what they measure is for the machine that they are run on.

Here rather than among the other tests, which have to end in minutes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

ROOT = Path(__file__).parents[2]


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


def test_bootstrap_agrees_with_scipy(tmp_path):
    path = tmp_path / "rows.jsonl"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bootstrap", "--small", "--json", path],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "scipy/ours" in done.stdout
    assert len(json.loads(path.read_text())["seconds"]) == 2


def test_embed_runs_without_a_peer(tmp_path):
    path = tmp_path / "rows.jsonl"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "embed.py", "--small", "--json", path],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "remedis_jax" in done.stdout and "images/s" in done.stdout
    assert len(path.read_text().splitlines()) == 1


def test_input_pipeline_runs_without_peers(tmp_path):
    path = tmp_path / "rows.jsonl"
    done = subprocess.run(
        [
            sys.executable, ROOT / "benchmarks" / "input_pipeline.py", "--small",
            "--kinds", "png16", "--ours", "host", "--json", path,
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "16-bit PNG films" in done.stdout and "of the limit" in done.stdout
    sides = [json.loads(line)["side"] for line in path.read_text().splitlines()]
    assert sides == ["limit", "decode", "host", "decode/limit"]


def test_million_rows_in_the_small(tmp_path):
    path = tmp_path / "rows.jsonl"
    done = subprocess.run(
        [
            sys.executable, ROOT / "benchmarks" / "million_rows.py", "--small",
            "--modes", "cases", "--json", path,
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = map(json.loads, path.read_text().splitlines())
    assert row["rows"] == 20_000 and row["start_seconds"] < 10
    assert set(row["resident_mib"]) == {"10", "25", "50", "75", "100"}


def test_finetune_runs_without_a_peer(tmp_path):
    path = tmp_path / "rows.jsonl"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "finetune.py", "--small", "--json", path],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = map(json.loads, path.read_text().splitlines())
    assert row["side"] == "remedis_jax" and row["images_per_second"] > 0
    assert len(row["seconds"]) == 2 and "32 pixels, batch 4" in done.stdout


def test_finetune_memory_describes_the_step_that_training_runs(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import finetune_memory

    described = finetune_memory.make_mesh(jax.devices()[:2])
    step, arguments = finetune_memory.abstract_step("small", "bfloat16", "unit", described)
    state, metrics = jax.eval_shape(step, *arguments)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, arguments[0])
    assert metrics["loss"].shape == () and arguments[1]["image"].shape == (16, 32, 32, 3)
