"""The protocol of probes: what is drawn is nested and by patient, and test rows choose nothing."""

import json

import numpy as np
import pandas as pd
import pytest

from remedis_jax.errors import UserError
from remedis_jax.evaluation.predictions import read_predictions
from remedis_jax.evaluation.probe_data import open_probe_data
from remedis_jax.evaluation.probe_draws import possible_shares, share_of, shots_of
from remedis_jax.evaluation.probe_protocol import Protocol
from remedis_jax.evaluation.probe_run import Probing

PATIENT = np.repeat(np.arange(60), 2)
Y = PATIENT % 2
SPLIT = np.array(["train", "train", "val", "test"])[PATIENT // 2 % 4]


def write(folder, y=Y):
    rng = np.random.default_rng(0)
    images = [f"{i}.png" for i in range(120)]
    table = {"image": images, "site": "A", "patient": PATIENT, "label": y, "split": SPLIT}
    pd.DataFrame(table | {"a": y, "b": 1 - y}).to_csv(folder / "manifest.csv", index=False)
    x = rng.normal(size=(120, 5)) + np.outer(2 * Y - 1, [1, 0, 0, 0, 0])
    np.savez(folder / "e.npz", features=x, images=images)
    return {"e": folder / "e.npz"}, folder / "manifest.csv"


def run(folder, y=Y):
    data = open_probe_data(*write(folder, y), columns={"label": "label"}, sites=["A"])
    asked = Protocol(id_site="A", seeds=(0, 1), shots=(3,), fractions=(0.5,))
    probing = Probing(data, asked, folder, lambda line: None)
    probing.run()
    return probing


def test_test_rows_choose_nothing(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one = run(tmp_path / "one")
    # Only the labels of the test patients differ.
    other = run(tmp_path / "other", np.where(SPLIT == "test", PATIENT // 3 % 2, Y))
    assert one.settings == other.settings and len(one.fits) == len(other.fits) == 8
    for a, b in zip(one.fits, other.fits, strict=True):
        first, second = (
            read_predictions(probing.out / fit.predictions)
            for probing, fit in ((one, a), (other, b))
        )
        assert not first["label"].equals(second["label"])
        np.testing.assert_array_equal(first["p_1"], second["p_1"])
    lines = (tmp_path / "one" / "probes.jsonl").read_text().splitlines()
    assert [json.loads(line)["trained_on"] for line in lines].count("shots") == 4


def test_more_shots_contain_fewer_and_no_patient_gives_two(tmp_path):
    data = open_probe_data(*write(tmp_path), columns={"label": "label"})
    draw = (data.manifest, data.labels, data.spec, data.rows("training"))
    few, labels = shots_of(*draw, 2, 1)
    more, _ = shots_of(*draw, 8, 1)
    assert labels.tolist().count(0) == labels.tolist().count(1) == 2
    assert set(few) < set(more) and len(set(PATIENT[more])) == len(more) == 16
    assert set(shots_of(*draw, 8, 2)[0]) != set(more)
    findings = open_probe_data(*write(tmp_path), columns={"label": "a,b"})
    rows, known = shots_of(
        findings.manifest, findings.labels, findings.spec, findings.rows("training"), 2, 1
    )
    assert np.nansum(known, axis=0).tolist() == [2, 2]
    assert (~np.isnan(known)).sum(axis=0).tolist() == [4, 4] and len(rows) <= 8


def test_shares_are_nested_and_the_usual_ones_are_those_that_exist(tmp_path):
    data = open_probe_data(*write(tmp_path), columns={"label": "label"})
    draw = (data.manifest, data.labels, data.spec)
    training = data.rows("training")
    half, quarter = (share_of(*draw, training, share, 3) for share in (0.5, 0.25))
    assert set(quarter) < set(half) < set(training)
    assert share_of(*draw, training, 1.0, 3) is training
    shares, note = possible_shares(*draw, [training], (0.01, 0.5, 1.0), (0, 1))
    assert shares == (0.5, 1.0) and "0.01 hold no patient" in note
    with pytest.raises(UserError, match="no group"):
        share_of(*draw, training, 0.01, 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"probe": "svm"}, "'svm' is unknown"),
        ({"seeds": ()}, "no experiment"),
        ({"level": "slide"}, "'slide' is unknown"),
        ({"id_site": "A", "ood_site": "A"}, "both sites"),
        ({"ood_site": "B"}, "which site the labels are of"),
    ],
)
def test_a_protocol_that_cannot_be(fields, message):
    with pytest.raises(UserError, match=message):
        Protocol(**fields)
