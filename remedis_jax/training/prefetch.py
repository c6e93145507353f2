"""Batches on their way to the devices while the devices work on earlier ones."""

import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from remedis_jax.data.pipeline import Batch, TrainStream

# ours: one batch that is being copied while another waits; each takes memory of the device.
AHEAD = 2


class Ready(NamedTuple):
    """A batch that has been handed over.

    Attributes:
        rows: 'index' of this process's share, on the host, for messages.
        batch: The whole of it on the mesh.
        fetch_seconds: How long the stream took to give it.
        put_seconds: How long the host was busy bringing it onto the mesh.
    """

    rows: np.ndarray
    batch: dict[str, jax.Array]
    fetch_seconds: float
    put_seconds: float


class DevicePrefetch:
    """Puts the next batches of a stream on the mesh in a thread of its own.

    The batches and their order are those of the stream. `state` is the stream's after the last
    batch that was handed out, whatever has been fetched since, so that a run goes on exactly.

    Args:
        stream: The batches; this object reads it alone, and does not close it.
        put: Brings a batch of the host onto the mesh; see `training.sharding.put_batch`.
        ahead: How many batches are on the mesh at most and not handed out yet.
    """

    def __init__(
        self,
        stream: TrainStream,
        put: Callable[[Batch], dict[str, jax.Array]],
        *,
        ahead: int = AHEAD,
    ):
        self._state = stream.state()
        self._ready: queue.Queue = queue.Queue()
        self._free = threading.Semaphore(ahead)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        # The thread has no reference to this object, so that one which nobody closes is collected
        # and its thread ended, at the latest before the interpreter goes.
        arguments = (stream, put, self._ready, self._free, self._stop)
        self._thread = threading.Thread(
            target=_fetch, args=arguments, name="device prefetch", daemon=True
        )
        self._close = weakref.finalize(self, _end, self._thread, self._free, self._stop)
        self._thread.start()

    def __iter__(self) -> "DevicePrefetch":
        return self

    def __next__(self) -> Ready:
        if not self._close.alive:
            raise ValueError("the batches are closed")
        if self._error is not None:
            raise self._error
        ready, state = self._ready.get()
        if isinstance(ready, BaseException):
            # The thread has ended, and whoever asks again is told the same.
            self._error = ready
            raise ready
        self._free.release()
        self._state = state
        return ready

    def __enter__(self) -> "DevicePrefetch":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def state(self) -> dict[str, Any]:
        """The position after the last batch that was handed out; see `TrainStream.state`."""
        return dict(self._state)

    def close(self) -> None:
        """Ends the thread, once the batch that it is waiting for has come."""
        self._close()


def _fetch(
    stream: TrainStream,
    put: Callable[[Batch], dict[str, jax.Array]],
    ready: queue.Queue,
    free: threading.Semaphore,
    stop: threading.Event,
) -> None:
    while True:
        free.acquire()
        if stop.is_set():
            return
        try:
            start = time.monotonic()
            batch = next(stream)
            fetched = time.monotonic()
            on_mesh = put(batch)
            seconds = fetched - start, time.monotonic() - fetched
            ready.put((Ready(batch["index"], on_mesh, *seconds), stream.state()))
        except BaseException as error:  # It is raised where the batch is asked for.
            ready.put((error, None))
            return


def _end(thread: threading.Thread, free: threading.Semaphore, stop: threading.Event) -> None:
    stop.set()
    free.release()
    thread.join()
