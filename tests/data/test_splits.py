"""Patients stay whole, labels stay balanced, fractions nest, and leaks are errors."""

import numpy as np
import pytest

from remedis_jax.data import (
    assert_disjoint_groups,
    group_strata,
    nested_subsets,
    split_by_group,
    split_counts,
)
from remedis_jax.data.duplicates import equal_files, joined_groups
from remedis_jax.data.iterative_split import split_by_labels
from remedis_jax.errors import UserError

PARTS = {"train": 0.7, "validation": 0.1, "test": 0.2}


@pytest.fixture
def cohort():
    """200 patients with 1 to 4 images; every fifth patient has one positive image or more."""
    rng = np.random.default_rng(0)
    groups, labels = [], []
    for patient in range(200):
        images = rng.integers(1, 5)
        positive = np.zeros(images, int)
        if patient % 5 == 0:
            positive[: rng.integers(1, images + 1)] = 1
        groups += [f"p{patient:03d}"] * images
        labels += positive.tolist()
    order = rng.permutation(len(groups))
    return np.array(groups, object)[order], np.array(labels)[order]


def test_label_of_a_group():
    groups = ["a", "a", "a", "b", "b", "c"]
    assert group_strata(groups, [0, 0, 1, 0, 0, 1]) == {"a": 1, "b": 0, "c": 1}
    assert group_strata(groups, ["nv", "nv", "mel", "nv", "mel", "x"]) == {
        "a": "nv",
        "b": "mel",
        "c": "x",
    }
    with pytest.raises(UserError, match="1 image"):
        group_strata(["a", "b"], [1.0, np.nan])


def test_split_is_a_partition_by_patient_and_stratified(cohort):
    groups, labels = cohort
    parts = split_by_group(groups, labels, PARTS, seed=0)
    everything = np.concatenate(list(parts.values()))
    assert sorted(everything) == list(range(len(groups)))
    assert_disjoint_groups({name: groups[indices] for name, indices in parts.items()})
    counts = split_counts(parts, groups, labels)
    assert counts["groups"].to_dict() == {"train": 140, "validation": 20, "test": 40}
    assert counts["groups with 1"].to_dict() == {"train": 28, "validation": 4, "test": 8}
    assert counts["images"].sum() == len(groups)


def test_split_depends_on_the_seed_and_not_on_the_order_of_rows(cohort):
    groups, labels = cohort

    def train(order, seed):
        indices = split_by_group(groups[order], labels[order], PARTS, seed)["train"]
        return set(groups[order][indices])

    straight = np.arange(len(groups))
    assert train(straight, 3) == train(straight[::-1], 3)
    assert train(straight, 3) != train(straight, 4)


def test_split_without_labels(cohort):
    groups, _ = cohort
    parts = split_by_group(groups, None, PARTS, seed=0)
    assert {n: len(set(groups[i])) for n, i in parts.items()} == {
        "train": 140,
        "validation": 20,
        "test": 40,
    }


def test_bad_split_fractions(cohort):
    groups, labels = cohort
    with pytest.raises(UserError, match="add up to 1"):
        split_by_group(groups, labels, {"train": 0.7, "test": 0.2}, 0)
    with pytest.raises(UserError, match="positive"):
        split_by_group(groups, labels, {"train": 1.2, "test": -0.2}, 0)
    with pytest.raises(UserError, match="no group for 'test': there are 2 groups"):
        split_by_group(["a", "b"], [0, 0], {"train": 0.9, "test": 0.1}, 0)


def test_subsets_nest_by_patient_and_keep_the_balance(cohort):
    groups, labels = cohort
    fractions = [0.5, 0.1, 1.0, 0.25]
    subsets = nested_subsets(groups, labels, fractions, seed=7)
    assert list(subsets) == [0.1, 0.25, 0.5, 1.0]
    smaller: set[int] = set()
    for fraction, indices in subsets.items():
        assert smaller < set(indices)
        smaller = set(indices)
        drawn = set(groups[indices])
        assert set(np.flatnonzero(np.isin(groups, list(drawn)))) == set(indices), "a torn patient"
        assert len(drawn) == 200 * fraction
    counts = split_counts(subsets, groups, labels)
    assert counts["groups with 1"].tolist() == [4, 10, 20, 40]
    assert set(subsets[1.0]) == set(range(len(groups)))


def test_subsets_depend_on_the_seed(cohort):
    groups, labels = cohort
    first = nested_subsets(groups, labels, [0.1], seed=0)[0.1]
    again = nested_subsets(groups, labels, [0.1], seed=0)[0.1]
    other = nested_subsets(groups, labels, [0.1], seed=1)[0.1]
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


def test_the_draw_is_the_same_in_every_release():
    groups = [f"p{i}" for i in range(10)]
    drawn = nested_subsets(groups, [0] * 10, [0.3], seed=0)[0.3]
    # The first three of: for i in {0..9}; do printf "0:p$i" | sha256sum; done | sort
    assert drawn.tolist() == [2, 4, 7]


def test_a_fraction_without_a_patient_of_each_class_is_refused(cohort):
    groups, labels = cohort
    with pytest.raises(UserError, match="0.01 of the 40 group.*label '1' is no group") as caught:
        nested_subsets(groups, labels, [0.01, 0.5], seed=0)
    assert "0.0125" in caught.value.remedy
    with pytest.raises(UserError, match="not all above 0 and up to 1"):
        nested_subsets(groups, labels, [0.0, 0.5], seed=0)


def test_a_class_that_is_nobodys_main_label_must_be_in_the_smallest_fraction():
    groups = [f"p{i // 3}" for i in range(60)]
    strata = ["nv", "nv", "nv"] * 10 + ["mel", "mel", "mel"] * 10
    strata[1] = "bcc"
    with pytest.raises(UserError, match="no image with label bcc"):
        for seed in range(20):
            nested_subsets(groups, strata, [0.1], seed)


def test_a_patient_in_two_splits_is_an_error_with_five_ids():
    train = [f"p{i}" for i in range(10)]
    test = [f"p{i}" for i in range(3, 20)]
    with pytest.raises(UserError) as caught:
        assert_disjoint_groups({"train": train, "validation": ["x"], "test": test})
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "7 group(s) are in two splits, 'train' and 'test'" in message
    assert "p3, p4, p5, p6, p7, and 2 more" in message
    with pytest.raises(UserError) as caught:
        assert_disjoint_groups({"train": train, "test": test}, redact=True)
    assert "p3" not in str(caught.value) and "sha256:" in str(caught.value)


@pytest.fixture
def findings():
    """300 patients, 1 to 3 images, five findings of which one is in every fiftieth patient."""
    rng = np.random.default_rng(0)
    groups = np.repeat([f"p{i:03d}" for i in range(300)], rng.integers(1, 4, 300)).astype(object)
    patient = np.array([int(group[1:]) for group in groups])
    shares = np.array([0.5, 0.3, 0.2, 0.1, 0.02])
    positive = (rng.random((300, 5)) < shares)[patient] & (rng.random((len(groups), 5)) < 0.8)
    return groups, positive


def test_several_labels_are_spread_by_patient(findings):
    groups, positive = findings
    parts = split_by_labels(groups, positive, PARTS, seed=0)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(groups)))
    assert_disjoint_groups({name: groups[indices] for name, indices in parts.items()})
    assert [len(set(groups[i])) for i in parts.values()] == [210, 30, 60]
    for label in range(positive.shape[1]):
        has = set(groups[positive[:, label]])
        counts = {name: len(has & set(groups[i])) for name, i in parts.items()}
        for name, share in PARTS.items():
            assert abs(counts[name] - share * len(has)) < 2, (label, counts)


def test_the_rarest_label_is_dealt_out_first_and_each_to_the_part_that_lacks_most():
    # Four patients with x alone, two with x and y: of each part half of y, then half of x.
    groups = [f"p{i}" for i in range(8)]
    positive = np.array([[1, 0]] * 4 + [[1, 1]] * 2 + [[0, 0]] * 2, bool)
    parts = split_by_labels(groups, positive, {"a": 0.5, "b": 0.5}, seed=0)
    for indices in parts.values():
        assert positive[indices].sum(axis=0).tolist() == [3, 1] and len(indices) == 4


def test_a_split_by_labels_depends_on_the_seed_and_not_on_the_order_of_rows(findings):
    groups, positive = findings

    def train(order, seed):
        indices = split_by_labels(groups[order], positive[order], PARTS, seed)["train"]
        return set(groups[order][indices])

    straight = np.arange(len(groups))
    assert train(straight, 3) == train(straight[::-1], 3)
    assert train(straight, 3) != train(straight, 4)


def test_bad_fractions_of_a_split_by_labels(findings):
    groups, positive = findings
    with pytest.raises(UserError, match="add up to 1"):
        split_by_labels(groups, positive, {"train": 0.7, "test": 0.2}, 0)
    with pytest.raises(UserError, match="no group for 'test': there are 2 groups"):
        split_by_labels(["a", "b"], positive[:2], {"train": 0.9, "test": 0.1}, 0)


def test_equal_files_tie_groups_together(make_manifest):
    manifest = make_manifest(8)
    folder = manifest.path.parent
    assert equal_files(manifest) == []
    # Patients 0 and 1 share a file, 1 and 3 another; 2 is alone.
    (folder / "2.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "7.png").write_bytes((folder / "3.png").read_bytes())
    seen = []
    pairs = equal_files(manifest, lambda done, total: seen.append((done, total)))
    assert pairs == [(0, 2), (3, 7)]
    assert seen[-1][0] == seen[-1][1] <= 8
    joined = joined_groups(manifest.groups, pairs).tolist()
    assert joined == ["000"] * 4 + ["002"] * 2 + ["000"] * 2
    assert joined_groups(["b", "a", "c"], [(0, 2), (1, 2)]).tolist() == ["a"] * 3
