"""Which images stand in a batch: every class equally often, and the images of a case together."""

import numpy as np
import pytest
from PIL import Image

from remedis_jax.data import InMemorySource
from remedis_jax.data.cases import cases_of
from remedis_jax.data.dataset import open_training
from remedis_jax.data.orders import BalancedOrder
from remedis_jax.data.pipeline import TrainStream
from remedis_jax.errors import UserError
from remedis_jax.training.config import stage_config

# Images per case; 17 images of 7 cases of 5 patients.
COUNTS = (1, 2, 3, 5, 1, 4, 1)


@pytest.fixture
def data(tmp_path):
    """The data section of a fine-tuning config on cases of 1 to 5 images."""
    rows = [(c, i) for c, n in enumerate(COUNTS) for i in range(n)]
    lines = ["image,case,patient,view,label"]
    for number in np.random.default_rng(0).permutation(len(rows)):
        case, i = rows[number]
        pixels = np.full((4, 4, 3), number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        view = "CC" if i % 2 == 0 else "MLO"
        lines.append(f"{number}.png,case{case},p{case % 5},{view},{'ill' if case % 3 else 'well'}")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    data = stage_config("supervised").data
    data.manifest, data.case, data.size = str(tmp_path / "m.csv"), "case", 4
    data.group, data.labels, data.case_images = "patient", ("label",), 3
    return data


def stream_of(dataset, **settings):
    defaults = {"batch_size": 4, "seed": 0, "mode": "bags", "labels": dataset.labels}
    return TrainStream(dataset.source, bags=dataset.cases, **(defaults | settings))


def test_an_example_is_a_case_with_up_to_three_of_its_images(data):
    dataset = open_training(data, "softmax")
    cases = np.array(dataset.manifest.column("case"), str)
    seen, visits = {name: set() for name in cases}, []
    with stream_of(dataset) as stream:
        for _ in range(7 * 12):
            batch = next(stream)
            assert batch["image"].shape == (4, 3, 4, 4, 3)
            for images, index, label in zip(batch["image"], batch["index"], batch["label"]):
                there = index[index >= 0]
                (name,) = set(cases[there])
                assert len(set(there)) == min(3, (cases == name).sum())
                assert dataset.labels[there[0]] == label
                assert not images[index < 0].any()
                expected = dataset.source.gather(there)
                np.testing.assert_array_equal(images[index >= 0], expected)
                seen[name] |= set(there)
                visits.append(name)
    # Every case equally often, and in the end every image of the large ones too.
    assert set(np.unique(visits, return_counts=True)[1]) == {48}
    assert {name: len(images) for name, images in seen.items()} == {
        name: int((cases == name).sum()) for name in seen
    }


def test_views_stand_in_their_places(data):
    data.view, data.views, data.case_images = "view", ("MLO", "CC"), 2
    dataset = open_training(data, "softmax")
    views = dataset.manifest.column("view")
    drawn = set()
    with stream_of(dataset) as stream:
        for _ in range(40):
            for index in next(stream)["index"]:
                assert all(views[i] == ("MLO", "CC")[k] for k, i in enumerate(index) if i >= 0)
                drawn |= set(index)
    assert drawn == set(range(-1, len(dataset)))


def test_batches_of_cases_depend_on_seed_and_step_alone(data):
    dataset = open_training(data, "softmax")
    with stream_of(dataset) as stream:
        batches = [next(stream)["index"] for _ in range(9)]
        state = stream.state()
    with TrainStream.from_state(
        dataset.source, state=state | {"next_step": 5}, bags=dataset.cases, batch_size=4, seed=0,
        mode="bags", labels=dataset.labels, threads=3,
    ) as stream:  # fmt: skip
        for expected in batches[5:]:
            np.testing.assert_array_equal(next(stream)["index"], expected)
    halves = []
    for process in range(2):
        with stream_of(dataset, process_index=process, process_count=2) as stream:
            halves.append([next(stream)["index"] for _ in range(3)])
    for expected, first, second in zip(batches, *halves):
        np.testing.assert_array_equal(np.concatenate([first, second]), expected)
    data.case_images = 2
    other = open_training(data, "softmax")
    with pytest.raises(UserError, match="data differ"):
        TrainStream.from_state(
            other.source, state=state, bags=other.cases, batch_size=4, seed=0, mode="bags",
            labels=other.labels,
        )  # fmt: skip


def test_balanced_classes_come_equally_often_and_their_images_too():
    strata = np.array([0] * 50 + [3] * 7 + [9] * 2)
    order = BalancedOrder(strata, 12, seed=4)
    drawn = np.concatenate([order(step) for step in range(175)])
    counts = np.bincount(drawn, minlength=59)
    assert set(counts[:50]) == {14} and set(counts[50:57]) == {100} and set(counts[57:]) == {350}
    # Within every three draws each stratum once, not always in the same order.
    rounds = strata[drawn].reshape(-1, 3)
    assert (np.sort(rounds, axis=1) == [0, 3, 9]).all() and len(np.unique(rounds, axis=0)) == 6
    again = BalancedOrder(strata, 12, seed=4)
    np.testing.assert_array_equal(again(100), drawn[1200:1212])
    assert (BalancedOrder(strata, 12, seed=5)(0) != drawn[:12]).any()


def test_balanced_cases(data):
    dataset = open_training(data, "softmax")
    strata = dataset.example_labels
    with stream_of(dataset, strata=strata) as stream:
        labels = np.concatenate([next(stream)["label"] for _ in range(10)])
    assert (labels == 0).sum() == (labels == 1).sum() == 20


def test_single_images_have_no_empty_places():
    source = InMemorySource(np.zeros((5, 2, 2, 1), np.uint8))
    with TrainStream(source, batch_size=5, seed=0, mode="stream") as stream:
        assert sorted(next(stream)["index"]) == [0, 1, 2, 3, 4]


def write(data, change):
    path = data.manifest
    lines = open(path).read().splitlines()
    open(path, "w").write("\n".join([lines[0], *[change(line) for line in lines[1:]]]) + "\n")


@pytest.mark.parametrize(
    "change, settings, named",
    [
        (lambda line: line.replace("CC", "XX"), {"view": "view", "views": ("CC", "MLO")}, "'XX'"),
        (lambda line: line.replace("case3,p3", "case3,p1", 1), {}, None),
        (lambda line: line.replace(",case2,", ",,"), {}, "'case' is empty"),
        (lambda line: line, {"view": "view"}, "go together"),
        (lambda line: line, {"view": "view", "views": ("CC", "MLO"), "case_images": 3}, "3"),
        (lambda line: line, {"case_images": 0, "view": "view", "views": ("CC", "MLO")}, "0"),
    ],
)
def test_cases_that_do_not_work_out_are_named(data, change, settings, named):
    if "views" in settings and "case_images" not in settings:
        data.case_images = 2
    for key, value in settings.items():
        data[key] = value
    write(data, change)
    if named is None:  # All images of the case moved to another patient: that is possible.
        assert len(open_training(data, "softmax").cases) == 7
        return
    with pytest.raises(UserError) as error:
        open_training(data, "softmax")
    assert named in error.value.problem


def test_a_case_of_two_patients_or_two_labels_is_named(data):
    lines = open(data.manifest).read()
    rows = [line for line in lines.splitlines() if ",case3," in line]
    open(data.manifest, "w").write(lines.replace(rows[0], rows[0].replace(",p3,", ",p1,")))
    with pytest.raises(UserError, match=r"1 case\(s\) have images of several groups.*case3"):
        open_training(data, "softmax")
    changed = rows[0].replace("well", "ill")
    open(data.manifest, "w").write(lines.replace(rows[0], changed))
    with pytest.raises(UserError, match=r"1 case\(s\) have different labels: case3"):
        open_training(data, "softmax")
    data.case_images = 0
    assert cases_of(data, open_training(data, "softmax").manifest) is None
