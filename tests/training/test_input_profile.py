"""The profile tells a run that waits for images from one that does not."""

import dataclasses
import json
import time

import jax
import numpy as np
import pytest

from remedis_jax.data import InMemorySource
from remedis_jax.data.pipeline import TrainStream
from remedis_jax.training.input_profile import InputFacts, InputProfile, advice
from remedis_jax.training.prefetch import DevicePrefetch
from remedis_jax.training.sharding import make_mesh, put_batch

FACTS = InputFacts(
    decodes=True, cached=False, bits=8, reduced=True, threads=2, workers=0, processors=8,
    memory_mib=10_000, free_mib=16_000, manifest="images.csv", size=256,
)  # fmt: skip
SOURCE = InMemorySource(np.zeros((64, 2, 2, 1), np.uint8))


def open_stream() -> TrainStream:
    return TrainStream(SOURCE, batch_size=8, seed=0, mode="stream")


class _Slow:
    """A stream that takes its time."""

    def __init__(self, stream, seconds):
        self._stream, self._seconds, self.state = stream, seconds, stream.state

    def __next__(self):
        time.sleep(self._seconds)
        return next(self._stream)


def run(tmp_path, input_seconds, step_seconds, steps=12, pause=lambda: None):
    """Steps that take `step_seconds` on the device, by the clock of a callback."""

    def work(x):
        time.sleep(step_seconds)
        return np.float32(x)

    step = jax.jit(
        lambda batch: (0, jax.pure_callback(work, jax.ShapeDtypeStruct((), "float32"), 1.0))
    )
    lines = []
    profile = InputProfile(
        tmp_path / "input_profile.json", 8, FACTS, every=5, announce=lines.append
    )
    mesh = make_mesh(1)
    with open_stream() as stream, DevicePrefetch(
        _Slow(stream, input_seconds), lambda batch: put_batch(batch, mesh)
    ) as batches:
        timed, make_step = profile.watch(batches, step)
        pending = None
        for _ in range(steps):
            ready = next(timed)
            _, metrics = make_step(ready.batch)
            if pending is not None:
                pending.block_until_ready()
                pause()
            pending = metrics
    return profile.finish(), lines


def test_a_run_that_waits_for_images(tmp_path):
    found, lines = run(tmp_path, input_seconds=0.04, step_seconds=0.01)
    # 30 of 40 ms: the next batch is read while the step runs.
    assert 0.6 < found["accelerator_waits"] < 0.85
    assert 25 < found["milliseconds"]["idle"] < 40
    assert 10 <= found["milliseconds"]["busy"] < 20
    assert found["milliseconds"]["fetch"] >= 40
    assert 300 < found["step_alone_images_per_second"] <= 800
    assert "remedis cache" in found["verdict"] and "accelerator waits" in found["verdict"]
    assert found["steps_measured"] == 10
    assert json.loads((tmp_path / "input_profile.json").read_text()) == found
    # After every five measured steps, and at the end.
    assert len(lines) == 3 and lines[-1] == found["verdict"]
    assert all("the accelerator wait" in line for line in lines)


def test_a_run_that_does_not_wait(tmp_path):
    found, _ = run(tmp_path, input_seconds=0.0, step_seconds=0.03)
    assert found["accelerator_waits"] < 0.05
    assert found["milliseconds"]["busy"] >= 30
    assert found["verdict"].endswith("The input keeps up.") and found["advice"] == []


def test_pauses_of_the_loop_are_nobodys_wait(tmp_path):
    """Validation and checkpoints leave the devices idle, and the input is not to blame."""
    found, _ = run(tmp_path, 0.0, 0.005, pause=lambda: time.sleep(0.03))
    assert found["accelerator_waits"] < 0.25
    assert found["milliseconds"]["idle"] < 2


def test_the_input_alone(tmp_path):
    profile = InputProfile(None, 8, FACTS)
    rate = profile.measure_input(open_stream)
    assert rate > 100
    found = profile.finish()
    assert found["input_alone_images_per_second"] == pytest.approx(rate, abs=0.01)
    assert "too few to tell" in found["verdict"]
    assert not list(tmp_path.iterdir())


def changed(**values) -> str:
    return "; ".join(advice(dataclasses.replace(FACTS, **values)))


def test_advice_follows_from_the_run():
    assert changed().startswith("decode them once: remedis cache MANIFEST --out DIR --size 256")
    assert "data.threads=0" in changed() and "data.threads=0" not in changed(threads=8)
    assert changed(memory_mib=900).startswith("keep the decoded images in memory: "
                                              "data.in_memory_mib=901")  # fmt: skip
    assert "cache" not in changed(cached=True)
    assert "data.workers=0" in changed(workers=4)
    assert "data.reduced=True" in changed(reduced=False)
    assert "data.bits=8" in changed(bits=16)
    assert changed(cached=True, threads=8) == "give the machine more processors or a faster disk"
    assert changed(decodes=False) == ""
