"""Batches on the devices ahead of time are those of the stream, and so is the position."""

import threading
import time

import jax
import numpy as np
import pytest

from remedis_jax.data import InMemorySource
from remedis_jax.data.pipeline import TrainStream
from remedis_jax.errors import UserError
from remedis_jax.training.prefetch import DevicePrefetch
from remedis_jax.training.sharding import batch_sharding, make_mesh, put_batch

N = 24
ARGUMENTS = {"batch_size": 8, "seed": 3, "mode": "distinct"}


@pytest.fixture
def source() -> InMemorySource:
    return InMemorySource(np.arange(N, dtype=np.uint8).repeat(4).reshape(N, 2, 2, 1))


@pytest.fixture
def mesh():
    return make_mesh(4)


def eventually(condition) -> bool:
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_the_batches_of_the_stream_on_the_mesh(source, mesh):
    with TrainStream(source, **ARGUMENTS) as stream:
        expected = [next(stream) for _ in range(7)]
    with TrainStream(source, **ARGUMENTS) as stream:
        with DevicePrefetch(stream, lambda batch: put_batch(batch, mesh)) as batches:
            for want in expected:
                ready = next(batches)
                np.testing.assert_array_equal(ready.rows, want["index"])
                assert ready.batch.keys() == want.keys()
                assert ready.batch["image"].sharding == batch_sharding(mesh)
                np.testing.assert_array_equal(ready.batch["image"], want["image"])
                assert ready.fetch_seconds >= 0 and ready.put_seconds >= 0


def test_the_position_is_that_of_what_was_handed_out(source, mesh):
    with TrainStream(source, **ARGUMENTS) as stream:
        states = [stream.state()]
        for _ in range(5):
            next(stream)
            states.append(stream.state())
        everything = [next(stream) for _ in range(3)]
    with TrainStream(source, **ARGUMENTS) as stream:
        with DevicePrefetch(stream, lambda batch: put_batch(batch, mesh)) as batches:
            for handed_out in range(6):
                # However far the thread is ahead.
                assert eventually(lambda n=handed_out: stream.state()["next_step"] == n + 2)
                assert batches.state() == states[handed_out]
                if handed_out < 5:
                    next(batches)
            state = batches.state()
    with TrainStream.from_state(source, state=state, **ARGUMENTS) as stream:
        for want in everything:
            np.testing.assert_array_equal(next(stream)["index"], want["index"])


@pytest.mark.parametrize("ahead", [1, 3])
def test_no_more_than_so_many_are_held(source, ahead):
    put = []
    with TrainStream(source, **ARGUMENTS) as stream:
        with DevicePrefetch(stream, lambda batch: put.append(1) or {}, ahead=ahead) as batches:
            for handed_out in range(4):
                assert eventually(lambda n=handed_out: len(put) == n + ahead)
                time.sleep(0.02)
                assert len(put) == handed_out + ahead
                next(batches)


def test_an_error_comes_with_the_batch_that_it_belongs_to(source):
    def put(batch):
        calls.append(batch)
        if len(calls) == 3:
            raise UserError("row 7 (7.png): the file is empty.", "Replace it.")
        return {}

    calls: list = []
    with TrainStream(source, **ARGUMENTS) as stream:
        with DevicePrefetch(stream, put) as batches:
            next(batches)
            next(batches)
            for _ in range(2):
                with pytest.raises(UserError, match="row 7"):
                    next(batches)
            assert batches.state()["next_step"] == 2


def test_the_thread_ends_with_the_prefetch(source):
    def threads():
        return [t for t in threading.enumerate() if t.name == "device prefetch"]

    with TrainStream(source, **ARGUMENTS) as stream:
        batches = DevicePrefetch(stream, lambda batch: {})
        next(batches)
        assert len(threads()) == 1
        batches.close()
        batches.close()
        assert not threads()
        with pytest.raises(ValueError, match="closed"):
            next(batches)
        forgotten = DevicePrefetch(stream, lambda batch: {})
        del forgotten
        assert not threads()


def test_the_thread_works_while_a_step_runs(source, mesh):
    """A slow stream and a slow step take as long as the slower, not as long as both."""

    class Slow:
        def __init__(self, stream):
            self._stream, self.state = stream, stream.state

        def __next__(self):
            time.sleep(0.05)
            return next(self._stream)

    step = jax.jit(lambda x: x.sum())
    with TrainStream(source, **ARGUMENTS) as stream:
        with DevicePrefetch(Slow(stream), lambda batch: put_batch(batch, mesh)) as batches:
            step(next(batches).batch["image"])
            start = time.monotonic()
            for _ in range(10):
                step(next(batches).batch["image"]).block_until_ready()
                time.sleep(0.05)
            taken = time.monotonic() - start
    assert taken < 0.8, "one after the other they take a second"
