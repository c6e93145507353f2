"""The stream is a function of (seed, step) alone; evaluation sees every image exactly once."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from remedis_jax.data import InMemorySource, ManifestSource
from remedis_jax.data import pipeline as pipeline_module
from remedis_jax.data.orders import CaseOrder
from remedis_jax.data.pipeline import TrainStream, eval_batches
from remedis_jax.errors import RunFailed, UserError

N = 23


@pytest.fixture
def source() -> InMemorySource:
    """Image i is full of the value i."""
    return InMemorySource(np.arange(N, dtype=np.uint8).repeat(4).reshape(N, 2, 2, 1))


LABELS = np.arange(N, dtype=np.int32) % 3


def take(stream: TrainStream, count: int) -> list[dict[str, np.ndarray]]:
    return [next(stream) for _ in range(count)]


def assert_same(got, expected) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.keys() == b.keys()
        for name in b:
            assert a[name].dtype == b[name].dtype
            np.testing.assert_array_equal(a[name], b[name])


def indices_of(stream: TrainStream, count: int) -> np.ndarray:
    with stream:
        return np.stack([batch["index"] for batch in take(stream, count)])


def test_a_batch_holds_image_index_and_label_of_the_same_example(source):
    with TrainStream(source, labels=LABELS, batch_size=5, seed=0, mode="stream") as stream:
        for batch in take(stream, 9):
            assert batch["image"].dtype == np.uint8 and batch["image"].shape == (5, 2, 2, 1)
            assert batch["index"].dtype == np.int32 and batch["label"].dtype == np.int32
            np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["index"])
            np.testing.assert_array_equal(batch["label"], batch["index"] % 3)
    with TrainStream(source, batch_size=5, seed=0, mode="stream") as stream:
        assert set(next(stream)) == {"image", "index"}


def test_distinct_gives_each_image_at_most_once_per_epoch_and_reshuffles(source):
    stream = TrainStream(source, batch_size=5, seed=0, mode="distinct")
    assert stream.steps_per_epoch == 4
    epochs = indices_of(stream, 4 * 100).reshape(100, 20)
    for epoch in epochs:
        assert len(set(epoch)) == 20
    assert len({tuple(epoch) for epoch in epochs}) == 100
    left_out = [set(range(N)) - set(epoch) for epoch in epochs]
    assert set.union(*left_out) == set(range(N)), "the same images are left out every time"


def test_stream_leaves_nothing_out_and_reshuffles(source):
    stream = TrainStream(source, batch_size=5, seed=0, mode="stream")
    assert stream.steps_per_epoch == 5
    epochs = indices_of(stream, 5 * N).reshape(-1, N)
    for epoch in epochs:
        assert sorted(epoch) == list(range(N))
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs) == 25


def test_stream_batch_may_be_larger_than_the_data():
    few = InMemorySource(np.zeros((3, 2, 2, 1), np.uint8))
    stream = TrainStream(few, batch_size=8, seed=0, mode="stream")
    assert stream.steps_per_epoch == 1
    assert np.bincount(indices_of(stream, 3).ravel()).tolist() == [8, 8, 8]


def test_neighbouring_seeds_share_no_epoch(source):
    # A shuffle seeded by seed + epoch would.
    epochs = [
        tuple(epoch)
        for seed in range(10)
        for epoch in indices_of(TrainStream(source, batch_size=N, seed=seed, mode="distinct"), 10)
    ]
    assert len(set(epochs)) == 100


def test_the_order_is_the_same_in_every_release(source):
    stream = TrainStream(source, batch_size=6, seed=0, mode="stream")
    first_epoch = indices_of(stream, 4).ravel()[:N]
    # Philox 4x64-10 is a published generator (Salmon et al. 2011); numpy guarantees its stream.
    bits = np.random.Philox(np.random.SeedSequence([0, 0])).random_raw(N)
    assert first_epoch.tolist() == sorted(range(N), key=lambda i: bits[i])
    assert first_epoch[:6].tolist() == [0, 8, 19, 9, 3, 18]


def test_every_place_in_an_epoch_is_equally_likely():
    tiny = InMemorySource(np.zeros((5, 1, 1, 1), np.uint8))
    epochs = indices_of(TrainStream(tiny, batch_size=5, seed=0, mode="distinct"), 2000)
    for place in epochs.T:
        counts = np.bincount(place, minlength=5)
        # Chi-squared with 4 degrees of freedom is above 18.5 once in a thousand times.
        assert ((counts - 400) ** 2 / 400).sum() < 18.5


@pytest.mark.parametrize("mode", ["distinct", "stream", "cases"])
def test_restored_at_any_of_50_positions_the_rest_of_the_epoch_is_identical(source, mode):
    arguments = {"labels": LABELS, "batch_size": 2, "seed": 3, "mode": mode}
    if mode == "cases":
        arguments["cases"] = [f"case {i * 7 % 11}" for i in range(N)]
    count = 60
    with TrainStream(source, **arguments) as stream:
        epoch = stream.steps_per_epoch
        everything, states = [], [stream.state()]
        for _ in range(count + epoch):
            everything.append(next(stream))
            states.append(json.loads(json.dumps(stream.state())))
    positions = np.random.default_rng(0).permutation(count)[:50].tolist()
    # Within an epoch, at its first and its last step, and in several of them.
    assert {0, epoch - 1} <= {p % epoch for p in positions} and max(positions) > 2 * epoch
    for number, position in enumerate(positions):
        state = states[position]
        assert state["next_step"] == position
        end = (position // epoch + 1) * epoch
        threads = (1, 2, 5)[number % 3]
        with TrainStream.from_state(source, state=state, threads=threads, **arguments) as stream:
            assert_same(take(stream, end - position), everything[position:end])
            assert stream.state() == states[end]


@pytest.mark.parametrize("workers", [-1, 0])
def test_any_number_of_threads_gives_the_same_batches(source, workers):
    arguments = {"labels": LABELS, "batch_size": 5, "seed": 3, "mode": "distinct"}
    with TrainStream(source, threads=1, **arguments) as stream:
        expected = take(stream, 9)
    for threads in (2, 5, None):
        with TrainStream(source, threads=threads, workers=workers, **arguments) as stream:
            assert_same(take(stream, 9), expected)
        assert not multiprocessing.active_children()


def test_small_batches_are_prepared_several_at_a_time(monkeypatch):
    monkeypatch.setattr(pipeline_module, "usable_processors", lambda: 16)
    for images, threads in ((256, 2), (32, 2), (16, 2), (8, 4), (1, 32)):
        options = pipeline_module._read_options(None, images)
        assert (options.num_threads, options.prefetch_buffer_size) == (threads, threads)
    assert pipeline_module._read_options(3, 1).num_threads == 3


def test_deep_images_stay_deep():
    deep = InMemorySource(np.arange(N * 4, dtype=np.uint16).reshape(N, 2, 2, 1) * 700)
    with TrainStream(deep, batch_size=5, seed=0, mode="stream") as stream:
        batch = next(stream)
    assert batch["image"].dtype == np.uint16
    np.testing.assert_array_equal(batch["image"], deep.images[batch["index"]])


def test_cases_are_numbered_in_the_order_of_their_names(source):
    """Not in that of their first images, so that a run can go on with the rows in another order."""
    names = ["b", "B", "10", "9", "é", "a b", "a"]
    order = CaseOrder(names, 7, 0)
    assert [names[i] for i in order._images] == sorted(names)


def test_workers_do_not_change_the_stream_nor_where_it_resumes(make_manifest):
    files = ManifestSource(make_manifest(N), 8)
    arguments = {"labels": LABELS, "batch_size": 5, "seed": 3, "mode": "distinct"}
    with TrainStream(files, **arguments) as stream:
        everything = take(stream, 12)
    with TrainStream(files, workers=2, **arguments) as stream:
        assert_same(take(stream, 3), everything[:3])
        third = stream.state()
    # By other numbers of workers than those that took the state.
    for workers, state in ((1, third), (2, third | {"next_step": 7})):
        with TrainStream.from_state(files, state=state, workers=workers, **arguments) as stream:
            rest = take(stream, 12 - state["next_step"])
        assert_same(rest, everything[state["next_step"] :])
    assert all(type(array) is np.ndarray for array in rest[0].values())
    assert not multiprocessing.active_children()


def test_the_parts_of_all_processes_are_the_batch_of_one(source):
    arguments = {"labels": LABELS, "batch_size": 6, "seed": 3, "mode": "stream"}
    with TrainStream(source, **arguments) as stream:
        whole = take(stream, 9)
    parts = []
    for process in range(2):
        with TrainStream(source, process_index=process, process_count=2, **arguments) as stream:
            parts.append(take(stream, 9))
    joined = [{name: np.concatenate([a[name], b[name]]) for name in a} for a, b in zip(*parts)]
    assert_same(joined, whole)


def test_a_run_can_go_on_with_other_numbers_of_processes_and_workers(source):
    arguments = {"batch_size": 6, "seed": 3, "mode": "stream"}
    with TrainStream(source, process_count=2, process_index=1, **arguments) as stream:
        take(stream, 4)
        state = stream.state()
    with TrainStream.from_state(source, state=state, **arguments) as stream:
        rest = indices_of(stream, 3)
    np.testing.assert_array_equal(rest, indices_of(TrainStream(source, **arguments), 7)[4:])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 4}, "seed (3 then, 4 now)"),
        ({"batch_size": 6}, "batch_size (5 then, 6 now)"),
        ({"mode": "stream"}, "mode ('distinct' then, 'stream' now)"),
        ({"labels": LABELS + 1}, "their labels"),
    ],
)
def test_a_changed_run_is_not_resumed(source, changed, message):
    arguments = {"labels": LABELS, "batch_size": 5, "seed": 3, "mode": "distinct"}
    state = TrainStream(source, **arguments).state()
    with pytest.raises(UserError) as caught:
        TrainStream.from_state(source, state=state, **arguments | changed)
    assert message in str(caught.value)
    other = InMemorySource(source.images[::-1])
    with pytest.raises(UserError, match="the images, their order"):
        TrainStream.from_state(other, state=state, **arguments)


def test_impossible_batches_are_refused(source):
    with pytest.raises(UserError, match="24 distinct images cannot be drawn from 23") as caught:
        TrainStream(source, batch_size=24, seed=0, mode="distinct")
    assert "batch_size to 23 or less" in caught.value.remedy
    with pytest.raises(UserError, match="batch_size=5 cannot be divided among 2"):
        TrainStream(source, batch_size=5, seed=0, mode="stream", process_count=2)
    with pytest.raises(UserError, match="batch_size=5 cannot be divided among 2"):
        eval_batches(source, batch_size=5, process_count=2)
    with pytest.raises(UserError, match="mode 'epoch' is unknown"):
        TrainStream(source, batch_size=5, seed=0, mode="epoch")
    with pytest.raises(UserError, match="seed=-1 is negative"):
        TrainStream(source, batch_size=5, seed=-1, mode="stream")
    with pytest.raises(UserError, match="there are no images"):
        TrainStream(InMemorySource(source.images[:0]), batch_size=5, seed=0, mode="stream")
    with pytest.raises(ValueError, match="22 labels do not fit 23 images"):
        TrainStream(source, labels=LABELS[1:], batch_size=5, seed=0, mode="stream")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_surfaces_as_one_line_at_its_step(make_manifest, workers):
    manifest = make_manifest(N)
    files = ManifestSource(manifest, 8)
    arguments = {"batch_size": 5, "seed": 3, "mode": "distinct", "workers": workers}
    order = indices_of(TrainStream(files, **arguments | {"workers": 0}), 3)
    manifest.image_paths[order[2, 1]].write_bytes(b"")
    with TrainStream(files, **arguments) as stream:
        take(stream, 2)
        with pytest.raises(UserError, match=rf"\({order[2, 1]}.png\): the file is empty") as caught:
            next(stream)
        assert stream.state()["next_step"] == 2
    assert caught.value.problem.startswith(str(manifest.path)) and caught.value.remedy
    assert not multiprocessing.active_children()


def test_a_killed_worker_is_reported(source):
    with TrainStream(source, batch_size=5, seed=0, mode="stream", workers=1) as stream:
        next(stream)
        (worker,) = multiprocessing.active_children()
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(RunFailed, match="a data worker was killed before step"):
            take(stream, 50)


def test_too_little_shared_memory_is_an_error_and_no_crash(source, monkeypatch):
    class Usage:
        free = 10

    monkeypatch.setattr(pipeline_module.shutil, "disk_usage", lambda path: Usage)
    with pytest.raises(UserError, match="shared memory.*--shm-size"):
        TrainStream(source, batch_size=5, seed=0, mode="stream", workers=2)


def test_a_stream_that_is_never_closed_leaves_no_noise_at_exit(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            """
            import numpy as np
            from remedis_jax.data import InMemorySource
            from remedis_jax.data.pipeline import TrainStream

            if __name__ == "__main__":
                source = InMemorySource(np.zeros((20, 8, 8, 3), np.uint8))
                stream = TrainStream(source, batch_size=4, seed=0, mode="stream", workers=1)
                print(next(stream)["image"].shape)
            """
        )
    )
    root = Path(pipeline_module.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(4, 8, 8, 3)\n", "")


@pytest.mark.parametrize("batch_size", [1, 5, 23, 40])
def test_evaluation_sees_every_image_exactly_once_in_order(source, batch_size):
    batches = list(eval_batches(source, labels=LABELS, batch_size=batch_size))
    assert all(batch["image"].shape == (batch_size, 2, 2, 1) for batch in batches)
    mask = np.concatenate([batch["mask"] for batch in batches])
    assert mask.dtype == bool
    index = np.concatenate([batch["index"] for batch in batches])
    image = np.concatenate([batch["image"] for batch in batches])[:, 0, 0, 0]
    label = np.concatenate([batch["label"] for batch in batches])
    assert index[mask].tolist() == list(range(N))
    assert image[mask].tolist() == list(range(N))
    assert label[mask].tolist() == LABELS.tolist()
    assert len(mask) == -(-N // batch_size) * batch_size
    assert not index[~mask].any() and not image[~mask].any()


def test_evaluation_in_two_processes_is_the_same(source):
    whole = list(eval_batches(source, labels=LABELS, batch_size=6))
    parts = [
        eval_batches(source, labels=LABELS, batch_size=6, process_index=p, process_count=2)
        for p in range(2)
    ]
    joined = [{name: np.concatenate([a[name], b[name]]) for name in a} for a, b in zip(*parts)]
    assert_same(joined, whole)


def test_evaluation_names_a_bad_image(make_manifest):
    manifest = make_manifest(7)
    files = ManifestSource(manifest, 8)
    manifest.image_paths[5].write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"row 7 \(5.png\): the file is a web page"):
        list(eval_batches(files, batch_size=2))


def test_the_package_imports_neither_grain_nor_jax():
    root = Path(pipeline_module.__file__).parents[2]
    code = "import sys, remedis_jax.data; print(sorted({'jax', 'grain'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "[]\n"
