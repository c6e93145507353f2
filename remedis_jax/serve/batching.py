"""Images of several requests go through the network together where they wait for it anyway."""

import asyncio
import collections
import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from remedis_jax.serve.engine import Engine
from remedis_jax.serve.refusal import Refusal


@dataclasses.dataclass(frozen=True)
class _Waiting:
    output: str
    image: np.ndarray
    result: asyncio.Future


class Batcher:
    """One thread for the accelerator, and a bounded number of images that wait for it.

    To be used within one event loop, as an asynchronous context manager.

    Args:
        engine: What computes.
        most: Most images that are admitted at a time.
    """

    def __init__(self, engine: Engine, most: int):
        self._engine = engine
        self._most = most
        self._admitted = 0
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "accelerator")
        self._seconds = 0.0

    async def __aenter__(self) -> "Batcher":
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._worker
        self._thread.shutdown()

    @contextlib.contextmanager
    def admit(self, count: int) -> Iterator[None]:
        """Keeps places for the images of one request.

        Raises:
            Refusal: 503, there are not so many.
        """
        if self._admitted + count > self._most:
            batches = self._admitted / self._engine.sizes[-1]
            raise Refusal(
                503,
                "The service is busy.",
                "Try again after the seconds in Retry-After.",
                headers={"Retry-After": str(max(1, math.ceil(batches * self._seconds)))},
            )
        self._admitted += count
        try:
            yield
        finally:
            self._admitted -= count

    async def run(self, output: str, images: Sequence[np.ndarray]) -> np.ndarray:
        """Waits for the turn of each image.

        Args:
            output: One of the engine's.
            images: As from `Engine.prepare`.

        Returns:
            float32 [len(images), features or classes].
        """
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(output, image, loop.create_future()) for image in images]
        self._waiting.extend(waiting)
        self._arrived.set()
        return np.stack(await asyncio.gather(*(each.result for each in waiting)))

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            batch = self._next_batch()
            if not batch:
                self._arrived.clear()
                continue
            start = time.monotonic()
            images = [each.image for each in batch]
            try:
                rows = await loop.run_in_executor(
                    self._thread, self._engine.run, batch[0].output, images
                )
            except Exception as error:  # whatever it is, it is the requests' that wait for it
                for each in batch:
                    if not each.result.done():
                        each.result.set_exception(error)
                continue
            self._seconds = time.monotonic() - start
            for each, row in zip(batch, rows, strict=True):
                if not each.result.done():
                    each.result.set_result(row)

    def _next_batch(self) -> list[_Waiting]:
        """Those that have waited longest and want the same as the first; at most a full batch."""
        batch: list[_Waiting] = []
        others: collections.deque[_Waiting] = collections.deque()
        for each in self._waiting:
            if each.result.done():
                continue  # the request was given up
            fits = len(batch) < self._engine.sizes[-1]
            if fits and (not batch or each.output == batch[0].output):
                batch.append(each)
            else:
                others.append(each)
        self._waiting = others
        return batch
