"""Whether the accelerator waits for images, and what would help: `remedis train --profile-input`.

For each step three moments are noted: when its batch was asked for, when the batch was there, and
when the devices had finished the step. The devices wait for input from the moment at which they
have finished one step until the batch of the next is there, except for the time in which nobody
had asked for it yet (validation, checkpoints). That is measured without slowing the run down: a
thread waits for the devices, and the loop goes on as it would without.
"""

import dataclasses
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from remedis_jax.data.cache_store import CacheStore
from remedis_jax.data.dataset import Dataset
from remedis_jax.data.pipeline import TrainStream
from remedis_jax.data.processors import usable_processors
from remedis_jax.data.sources import bytes_of
from remedis_jax.training.prefetch import DevicePrefetch, Ready

FILE_NAME = "input_profile.json"
# ours: a step that compiles, and the one after, which fills what is reused.
_FIRST_STEPS = 2
# ours: below this the input is not worth anybody's time.
_NEGLIGIBLE = 0.05
# ours: batches and seconds in which the input alone is measured, whichever is over first.
_ALONE_BATCHES = 30
_ALONE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class InputFacts:
    """What the advice depends on.

    Attributes:
        decodes: Whether images are decoded at each use; else they are in memory.
        cached: Whether they come from a cache of decoded images.
        bits: Of their pixels, 8 or 16.
        reduced: Whether JPEGs may be decoded at a reduced scale.
        threads: That decode.
        workers: Processes that decode; 0 for threads alone.
        processors: That this process may use.
        memory_mib: What all decoded images would take in memory.
        free_mib: Memory of the machine, in all.
        manifest: Of the images.
        size: Their side in pixels.
    """

    decodes: bool
    cached: bool
    bits: int
    reduced: bool
    threads: int
    workers: int
    processors: int
    memory_mib: int
    free_mib: int
    manifest: str
    size: int

    @classmethod
    def of(cls, data: Any, dataset: Dataset) -> "InputFacts":
        """From the `data` section of a config and the training rows."""
        processors = usable_processors()
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return cls(
            decodes=dataset.decodes,
            cached=isinstance(dataset.manifest.store, CacheStore),
            bits=8 * dataset.source.dtype.itemsize,
            reduced=data.reduced,
            threads=data.threads or processors,
            workers=data.workers,
            processors=processors,
            memory_mib=-(-bytes_of(dataset.source) // 2**20),
            free_mib=pages // 2**20,
            manifest=str(data.manifest),
            size=data.size,
        )


def advice(facts: InputFacts) -> list[str]:
    """What would make the input faster, best first; empty where nothing is known to help."""
    lines = []
    if facts.decodes and facts.memory_mib < facts.free_mib // 2:
        lines.append(
            f"keep the decoded images in memory: data.in_memory_mib={facts.memory_mib + 1}"
        )
    if facts.decodes and not facts.cached:
        lines.append(
            "decode them once: remedis cache MANIFEST --out DIR --size "
            f"{facts.size}, then data.manifest=DIR"
        )
    if facts.decodes and facts.workers:
        lines.append("decode in threads, which share memory: data.workers=0")
    if facts.decodes and facts.threads < facts.processors:
        lines.append(f"decode with all {facts.processors} processors: data.threads=0")
    if facts.decodes and not facts.cached and not facts.reduced:
        lines.append("decode JPEGs at a reduced scale: data.reduced=True")
    if facts.bits == 16:
        lines.append("halve what is moved, if 8 bits are enough: data.bits=8")
    if not lines and facts.decodes:
        lines.append("give the machine more processors or a faster disk")
    return lines


class InputProfile:
    """Where the time of the steps goes.

    Args:
        path: The JSON file to write, in the first process; None to write none.
        images: In a step, over all processes.
        facts: What the advice depends on.
        every: Steps between two lines.
        announce: Called with a line for the user.
    """

    def __init__(
        self,
        path: Path | None,
        images: int,
        facts: InputFacts,
        *,
        every: int = 100,
        announce: Callable[[str], None] = lambda line: None,
    ):
        self._path, self._images, self._facts = path, images, facts
        self._every, self._announce = every, announce
        self._alone: float | None = None
        self._asked = self._there = 0.0
        self._pending: Ready | None = None
        self._seen = 0
        self._steps: list[_Step] = []
        self._moments: queue.Queue = queue.Queue()
        self._watcher = threading.Thread(target=self._watch, name="input profile", daemon=True)
        self._watcher.start()

    def measure_input(self, open_stream: Callable[[], TrainStream]) -> float:
        """Images per second that the input gives when nothing else is done with them.

        The stream is one of its own, at the position where training goes on; over all processes,
        as fast as this one.
        """
        with open_stream() as stream:
            next(stream)  # Starts the threads, and opens what is opened once.
            start = time.monotonic()
            batches = 0
            while batches < _ALONE_BATCHES and time.monotonic() - start < _ALONE_SECONDS:
                next(stream)
                batches += 1
            self._alone = batches * self._images / (time.monotonic() - start)
        return self._alone

    def watch(
        self, batches: DevicePrefetch, step: Callable[..., tuple[Any, Any]]
    ) -> tuple[Iterator[Ready], Callable[..., tuple[Any, Any]]]:
        """The batches and the training step, with the time taken; used in their place."""

        def timed_batches() -> Iterator[Ready]:
            while True:
                self._asked = time.monotonic()
                self._pending = next(batches)
                self._there = time.monotonic()
                yield self._pending

        def timed_step(*arguments: Any) -> tuple[Any, Any]:
            # Taken before, since some backends return only when the step is done.
            begun = time.monotonic()
            state, metrics = step(*arguments)
            ready = self._pending
            moment = self._asked, self._there, begun, metrics
            self._moments.put((*moment, ready.fetch_seconds, ready.put_seconds))
            return state, metrics

        return timed_batches(), timed_step

    def finish(self) -> dict[str, Any]:
        """Writes the file and says the verdict; returns what the file holds."""
        self._moments.put(None)
        self._watcher.join()
        found = self._summary()
        if self._path is not None:
            self._path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        self._announce(found["verdict"])
        return found

    def _watch(self) -> None:
        """Waits for the devices, step by step."""
        before = 0.0
        while (moment := self._moments.get()) is not None:
            asked, there, begun, metrics, fetch, put = moment
            jax.block_until_ready(metrics)
            done = time.monotonic()
            self._seen += 1
            if self._seen > _FIRST_STEPS:
                idle = max(0.0, there - max(asked, before))
                busy = done - max(begun, before)
                self._steps.append(_Step(idle, busy, there - asked, fetch, put))
                if len(self._steps) % self._every == 0:
                    recent = self._steps[-self._every :]
                    self._announce(
                        f"input: the accelerator waited {_share(recent):.0%} of the time "
                        f"for images in the last {self._every} steps"
                    )
            before = done

    def _summary(self) -> dict[str, Any]:
        steps = self._steps
        found: dict[str, Any] = {
            "images_per_step": self._images,
            "steps_measured": len(steps),
            "input_alone_images_per_second": _rounded(self._alone),
            **dataclasses.asdict(self._facts),
        }
        if not steps:
            verdict = f"input: fewer than {_FIRST_STEPS + 1} steps were made, too few to tell"
            return found | {"advice": [], "verdict": verdict + "."}
        means = {
            name: sum(getattr(step, name) for step in steps) / len(steps)
            for name in ("idle", "busy", "wait", "fetch", "put")
        }
        share = _share(steps)
        step_rate = self._images / max(means["busy"], 1e-9)
        help_by = advice(self._facts) if share >= _NEGLIGIBLE else []
        return found | {
            "accelerator_waits": round(share, 4),
            "step_alone_images_per_second": _rounded(step_rate),
            # Means of a step: what the accelerator waits for images and works; what the loop waits
            # for a batch; what the batch took to be read, and to be brought onto the devices.
            "milliseconds": {name: round(1e3 * mean, 3) for name, mean in means.items()},
            "advice": help_by,
            "verdict": _verdict(share, means, self._alone, step_rate, help_by),
        }


@dataclasses.dataclass(frozen=True)
class _Step:
    """Seconds of one step: see `InputProfile._summary`."""

    idle: float
    busy: float
    wait: float
    fetch: float
    put: float


def _share(steps: list[_Step]) -> float:
    idle = sum(step.idle for step in steps)
    return idle / max(idle + sum(step.busy for step in steps), 1e-9)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _verdict(
    share: float,
    means: dict[str, float],
    alone: float | None,
    step_rate: float,
    help_by: list[str],
) -> str:
    rates = f"the steps alone could take {step_rate:,.0f} images/s"
    if alone is not None:
        rates = f"the input alone gives {alone:,.0f} images/s, {rates}"
    whole = 1e3 * (means["idle"] + means["busy"])
    waits = (
        f"input: the accelerator waits {share:.0%} of the time for images "
        f"({1e3 * means['idle']:.1f} of {whole:.1f} ms a step); {rates}."
    )
    if share < _NEGLIGIBLE:
        return waits + " The input keeps up."
    if not help_by:
        return waits
    return f"{waits} To go faster: {'; '.join(help_by)}."
