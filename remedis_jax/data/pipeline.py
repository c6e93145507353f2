"""Batches as a pure function of (seed, step).

Step s of a run holds the same images whatever the number of processes, workers or threads, and
whether the run was interrupted, so that the position of a run is one number: its next step. A
grain `MapDataset` of steps is mapped to batches of indices and then to batches of images, in
threads and, if asked, in worker processes. Threads are the rule: the codecs and the resampling
release the interpreter lock, and a batch that a thread has filled is handed on as it is, while
that of a process has to be copied.

This module imports grain, which imports jax; the rest of the package imports neither.
"""

import hashlib
import shutil
import sys
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import grain
import numpy as np
from absl import flags

from remedis_jax.data.attended_workers import AttendedWorkers
from remedis_jax.data.cases import Cases
from remedis_jax.data.orders import BagOrder, BalancedOrder, CaseOrder, Order
from remedis_jax.data.processors import usable_processors
from remedis_jax.data.sources import ImageSource
from remedis_jax.errors import RunFailed, UserError

Mode = Literal["distinct", "stream", "cases", "bags"]
MODES = ("distinct", "stream", "cases", "bags")
Batch = dict[str, np.ndarray]


class _Load:
    """Turns the indices of a batch into the part of it that this process needs."""

    def __init__(
        self,
        source: ImageSource,
        labels: np.ndarray | None,
        process_index: int,
        process_count: int,
        bags: bool = False,
    ):
        self._source = source
        self._labels = labels
        self._bags = bags
        self._process_index = process_index
        self._process_count = process_count

    def __call__(self, indices: np.ndarray) -> Batch:
        share = len(indices) // self._process_count
        indices = indices[self._process_index * share : (self._process_index + 1) * share]
        flat = indices.reshape(-1)
        there = flat >= 0
        if there.all():
            images = self._source.gather(flat)
        else:
            images = np.zeros((len(flat), *self._source.image_shape), self._source.dtype)
            images[there] = self._source.gather(flat[there])
        images = images.reshape(*indices.shape, *images.shape[1:])
        batch = {"image": images, "index": indices.astype(np.int32)}
        if self._labels is not None:
            batch["label"] = self._labels[self._labelled(indices)]
        return batch

    def _labelled(self, indices: np.ndarray) -> np.ndarray:
        """Whose labels the examples have: those of a case stand with each of its images."""
        if not self._bags:
            return indices
        return np.take_along_axis(indices, (indices >= 0).argmax(axis=1)[:, None], axis=1)[:, 0]


class TrainStream:
    """Endless batches for training, for iteration with ``next``.

    'distinct': the images are shuffled anew in every epoch, and the remainder that fills no batch
    is left out of that epoch, so that no image is twice in a batch; contrastive losses would take
    the second for a false negative. 'stream': the shuffled epochs follow one another without a
    gap and batches straddle them, so that nothing is left out and a batch may be larger than the
    data; for supervised training on few labels. 'cases': the cases are shuffled anew in every
    epoch, each gives a pair of its images, and no case is twice in a batch; the two are different
    images of the case, drawn anew at each visit, or the one image of a case of one, twice. For
    MICLe. 'bags': as 'stream', of cases, each with up to as many of its images as fit.

    A batch is a dict of 'image' [b, H, W, C] of the source's dtype, 'index' int32 [b] (index in
    the source) and, with labels, 'label' (as `labels`, [b, ...]), where b is batch_size /
    process_count. Process p of P holds the p-th of P contiguous parts of the batch. In 'cases' a
    batch is of cases: image is [b, 2, H, W, C] and index [b, 2]; in 'bags' [b, V, H, W, C] and
    [b, V], where index is -1 and the image 0 in places that are empty, and label is the case's.

    Worker processes are spawned and import the main module again, so a script that uses them
    needs ``if __name__ == '__main__':``. Use them where decoding is slower than training; threads
    alone suffice for images in memory.

    Args:
        source: N images.
        labels: [N, ...], or None.
        batch_size: Images in a batch, over all processes.
        seed: Not negative. Other seeds give unrelated orders.
        mode: 'distinct', 'stream', 'cases' or 'bags'.
        cases: [N] name of the case of each image; for mode 'cases' only.
        bags: The cases; for mode 'bags' only.
        strata: int [N], or of each case in 'bags'; with it every stratum is drawn equally often,
            in 'stream' and 'bags'.
        start_step: The first step to give.
        workers: Processes that load batches; 0 loads them in this process, and so does -1, which
            leaves the choice to the machine.
        threads: Batches in preparation at a time, in each worker or in this process. None for
            what keeps the processors busy (ours): two, or more where a batch has fewer images
            than two for each processor.
        process_index: Which process of a multi-host run this is.
        process_count: How many of them there are.

    Raises:
        UserError: The batch is larger than the data (distinct) or not divisible by the processes,
            the mode is unknown, the seed negative, the source empty, or there is too little
            shared memory for the workers. While iterating: an image cannot be read.
        RunFailed: While iterating: a worker was killed.
    """

    def __init__(
        self,
        source: ImageSource,
        *,
        labels: np.ndarray | None = None,
        batch_size: int,
        seed: int,
        mode: Mode,
        cases: Sequence[str] | None = None,
        bags: Cases | None = None,
        strata: np.ndarray | None = None,
        start_step: int = 0,
        workers: int = 0,
        threads: int | None = None,
        process_index: int = 0,
        process_count: int = 1,
    ):
        _check_batch(source, labels, batch_size, process_count)
        if mode not in MODES:
            raise UserError(
                f"mode {mode!r} is unknown.", f"Choose one of {', '.join(map(repr, MODES))}."
            )
        if seed < 0:
            raise UserError(f"seed={seed} is negative.", "Choose 0 or more.")
        if (mode == "cases") != (cases is not None) or (mode == "bags") != (bags is not None):
            raise ValueError("mode 'cases' and the argument cases go together, and so do bags")
        if strata is not None and mode not in ("stream", "bags"):
            raise ValueError(f"mode {mode!r} has no strata")
        order = _order_of(len(source), batch_size, seed, mode, cases, bags, strata)
        self._units = order.units
        if mode in ("distinct", "cases") and batch_size > self._units:
            what = "images" if mode == "distinct" else "cases"
            raise UserError(
                f"a batch of {batch_size:,} distinct {what} cannot be drawn from"
                f" {self._units:,}.",
                f"Set batch_size to {self._units:,} or less.",
            )
        self._state = {
            "next_step": int(start_step),
            "seed": int(seed),
            "batch_size": int(batch_size),
            "num_examples": len(source),
            "mode": mode,
            "digest": _digest(source, labels, cases, bags, strata),
        }
        workers = max(0, workers)
        load = _Load(source, labels, process_index, process_count, mode == "bags")
        images = batch_size // process_count * (bags.places if bags else 1)
        options = _read_options(threads, images)
        steps = grain.MapDataset.range(start_step, sys.maxsize)
        dataset = steps.map(order).map(load).to_iter_dataset(options)
        if workers:
            image_bytes = int(np.prod(source.image_shape)) * source.dtype.itemsize
            # Each worker holds a batch in its queue, one in hand, and one is being copied out.
            _check_shared_memory(3 * workers * images * image_bytes)
            # grain's workers read absl flags, which only absl.app.run parses by itself.
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=1)
            )
        self._workers = workers
        # The list is the only owner of grain's iterator, so that closing also deletes it. The
        # finalizer also runs when the interpreter exits; grain's own clean-up comes too late by
        # then, complains, and leaves shared memory behind.
        self._live = [AttendedWorkers(iter(dataset)) if workers else iter(dataset)]
        self._close = weakref.finalize(self, _close, self._live)

    @classmethod
    def from_state(
        cls,
        source: ImageSource,
        *,
        state: dict[str, Any],
        labels: np.ndarray | None = None,
        **arguments: Any,
    ) -> "TrainStream":
        """Goes on where `state` was taken; the other arguments as for the class.

        The number of workers, threads and processes may differ from those of the run before.

        Raises:
            UserError: The seed, batch size, mode, images or labels are not those of the state.
        """
        stream = cls(source, labels=labels, start_step=state["next_step"], **arguments)
        changed = [name for name, value in stream.state().items() if state.get(name) != value]
        if changed:
            stream.close()
            what = [
                "the images, their order, their size or their labels"
                if name == "digest"
                else f"{name} ({state.get(name)!r} then, {stream.state()[name]!r} now)"
                for name in changed
            ]
            raise UserError(
                "the data differ from those that the checkpoint was training on:"
                f" {', '.join(what)}.",
                "Restore the earlier settings and data, or start a new run.",
            )
        return stream

    def __iter__(self) -> "TrainStream":
        return self

    def __next__(self) -> Batch:
        if not self._live:
            raise ValueError("the stream is closed")
        try:
            batch = next(self._live[0])
        except RuntimeError as error:
            if "Worker process was terminated" not in str(error):
                raise
            self.close()
            raise RunFailed(
                f"a data worker was killed before step {self._state['next_step']}: {error}",
                "It may have run out of memory; use fewer workers or a smaller batch.",
            ) from None
        if self._workers:
            # The arrays lie in shared memory; a copy frees it now rather than when jax lets go.
            batch = {name: np.array(array) for name, array in batch.items()}
        self._state["next_step"] += 1
        return batch

    def __enter__(self) -> "TrainStream":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every image (or case) has its turn; but in 'stream', without the rest."""
        n, batch_size = self._units, self._state["batch_size"]
        whole = self._state["mode"] in ("distinct", "cases")
        return n // batch_size if whole else -(-n // batch_size)

    def state(self) -> dict[str, Any]:
        """The position after the last batch that was given out, and what it depends on (JSON)."""
        return dict(self._state)

    def close(self) -> None:
        """Ends the threads and the worker processes. The stream gives no more batches."""
        self._close()


def eval_batches(
    source: ImageSource,
    *,
    labels: np.ndarray | None = None,
    batch_size: int,
    threads: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Every image exactly once, in order; the last batch is filled up and masked.

    Args:
        source: N images.
        labels: [N, ...], or None.
        batch_size: Images in a batch, over all processes.
        threads: Batches in preparation at a time; None as for `TrainStream`.
        process_index: Which process of a multi-host run this is.
        process_count: How many of them there are; each gets its contiguous part of every batch.

    Yields:
        As `TrainStream`, and 'mask' bool [b]: False where image 0 was repeated to fill the batch.

    Raises:
        UserError: The batch is not divisible by the processes, the source is empty, or an image
            cannot be read.
    """
    _check_batch(source, labels, batch_size, process_count)
    n = len(source)
    load = _Load(source, labels, process_index, process_count)
    share = batch_size // process_count
    first = process_index * share

    def batch_at(start: int) -> Batch:
        positions = np.arange(start, start + batch_size)
        inside = positions < n
        batch = load(np.where(inside, positions, 0))
        return batch | {"mask": inside[first : first + share]}

    options = _read_options(threads, share)
    starts = grain.MapDataset.range(0, n, batch_size)
    return iter(starts.map(batch_at).to_iter_dataset(options))


def _read_options(threads: int | None, images: int) -> grain.ReadOptions:
    """How many batches of so many images are in preparation, and finished in advance."""
    if threads is None:
        # Each batch is decoded by all processors together; the second fills the gap while the
        # first waits for its last image. Batches too small for that take more of their kind.
        threads = max(2, -(-2 * usable_processors() // images))
    return grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)


def _close(live: list[grain.DatasetIterator | AttendedWorkers]) -> None:
    while live:
        live.pop().close()


def _order_of(
    n: int,
    batch_size: int,
    seed: int,
    mode: Mode,
    cases: Sequence[str] | None,
    bags: Cases | None,
    strata: np.ndarray | None,
) -> Any:
    if mode == "cases":
        return CaseOrder(cases, batch_size, seed)
    units = n if bags is None else len(bags)
    if strata is None:
        order = Order(units, batch_size, seed, "distinct" if mode == "distinct" else "stream")
    else:
        order = BalancedOrder(strata, batch_size, seed)
    return order if bags is None else BagOrder(bags, order, seed)


def _digest(
    source: ImageSource,
    labels: np.ndarray | None,
    cases: Sequence[str] | None,
    bags: Cases | None,
    strata: np.ndarray | None,
) -> str:
    digest = _digest_of_images(source, labels, cases)
    for name, part in (("bags", bags.digest if bags else None), ("strata", strata)):
        if part is not None:
            text = part if isinstance(part, str) else str(np.asarray(part).tolist())
            digest = hashlib.sha256(f"{digest} {name} {text}".encode()).hexdigest()
    return digest


def _digest_of_images(
    source: ImageSource, labels: np.ndarray | None, cases: Sequence[str] | None
) -> str:
    if cases is not None:
        names = "\0".join(map(str, cases))
        return hashlib.sha256(f"{source.digest} {names}".encode()).hexdigest()
    if labels is None:
        return source.digest
    content = hashlib.sha256(f"{source.digest} {labels.dtype.str} {labels.shape}".encode())
    content.update(np.ascontiguousarray(labels).data)
    return content.hexdigest()


def _check_batch(
    source: ImageSource, labels: np.ndarray | None, batch_size: int, process_count: int
) -> None:
    if len(source) == 0:
        raise UserError("there are no images to make batches of.", "Check the manifest.")
    if labels is not None and len(labels) != len(source):
        raise ValueError(f"{len(labels)} labels do not fit {len(source)} images")
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"batch_size={batch_size} cannot be divided among {process_count} process(es).",
            "Set it to a positive multiple of the number of processes.",
        )


def _check_shared_memory(needed: int) -> None:
    """Refuses what would end in a bus error: containers often get 64 MB of shared memory."""
    try:
        free = shutil.disk_usage("/dev/shm").free
    except FileNotFoundError:  # Not Linux: shared memory is not a file system with a limit.
        return
    if needed > free:
        raise UserError(
            f"data workers need about {needed / 2**20:,.0f} MiB of shared memory and /dev/shm has"
            f" {free / 2**20:,.0f} MiB free.",
            "Enlarge it (docker run --shm-size=...), or use fewer workers or workers=0.",
        )
