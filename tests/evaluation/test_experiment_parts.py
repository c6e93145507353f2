"""The parts of an experiment: who is in them, what was left out, and what must not be shared."""

import pandas as pd
import pytest

from remedis_jax.errors import UserError
from remedis_jax.evaluation.experiment_parts import (
    flow_of,
    flow_record,
    parts_of,
    require_disjoint,
    rows_table,
)
from remedis_jax.evaluation.experiment_selection import selection_of
from remedis_jax.training.config import load_config


@pytest.fixture(scope="module")
def config(tiny_phantom):
    return load_config(f"experiments/data_efficiency/phantom.py:data={tiny_phantom},tiny")


@pytest.fixture(scope="module")
def manifest(tiny_phantom):
    return pd.read_csv(tiny_phantom / "labelled" / "manifest.csv", dtype=str)


def test_six_parts_hold_the_rows_of_both_sites(config, manifest):
    parts = parts_of(config)
    assert [part.name for part in parts] == [
        f"{site} {role}"
        for site in ("hospital_a", "hospital_b")
        for role in ("training", "validation", "test")
    ]
    require_disjoint(parts)
    table = rows_table(parts, ("age", "sex"))
    assert list(table) == ["part", "image", "group", "site", "split", "finding", "age", "sex"]
    assert sorted(table.image) == sorted(manifest.image)
    joined = table.merge(manifest, on="image", suffixes=("", "_of_manifest"))
    assert (joined.age == joined.age_of_manifest).all()
    assert (joined.group == joined.patient_id).all()
    assert set(joined.part[joined.split == "val"]) == {
        "hospital_a validation", "hospital_b validation",
    }  # fmt: skip


def test_a_characteristic_has_to_be_a_column(config):
    with pytest.raises(UserError, match="has no column 'aeg'. Did you mean 'age'"):
        rows_table(parts_of(config), ("aeg",))


def test_the_flow_counts_every_row_once(config, manifest):
    parts = parts_of(config)
    lost = manifest.image[(manifest.site == "hospital_b") & (manifest.split == "test")].iloc[0]
    flow = flow_of(parts, {lost})
    assert sum(record["rows"] for record in flow) == len(manifest)
    assert flow[-1]["excluded"] == {"image cannot be used": 1}
    assert flow[-1]["images"] == flow[-1]["rows"] - 1
    assert all(not record["excluded"] for record in flow[:-1])
    # Rows that no part names are counted as such.
    fewer = flow_of(parts[:5], set())
    assert fewer[-1]["part"] == "in no part"
    assert sum(record["rows"] for record in fewer) == len(manifest)
    assert flow_record("all", parts[0].rows(), set())["patients"] == 12


def test_a_patient_in_two_parts_stops_the_experiment(config):
    shared = config.copy_and_resolve_references()
    shared.ood_validation = shared.ood_test
    with pytest.raises(UserError, match=r"hospital_b validation and .* share 10 patient\(s\) \(B"):
        require_disjoint(parts_of(shared))
    with pytest.raises(UserError, match=r"share 10 patient\(s\)\. Give every patient one split"):
        require_disjoint(parts_of(shared), redact=True)


def test_what_chose_what_is_said(config):
    rules = selection_of(config)
    assert rules["checkpoint"] == "the last step of every run; nothing chose it"
    assert rules["hyperparameters"].startswith("nothing was tried")
    grid = config.copy_and_resolve_references()
    grid.learning_rates, grid.ood_validation = (0.1, 0.01), {}
    grid.finetune_id.select = "best"
    rules = selection_of(grid)
    assert "among 0.1, 0.01 by auroc on the validation patients of hospital_a" in (
        rules["hyperparameters"]
    )
    assert rules["operating_point"] == "the validation patients of hospital_a"
    assert "best auroc" in rules["checkpoint"]


def test_the_config_of_a_task_has_an_arm_for_every_start(tiny_phantom):
    manifest = tiny_phantom / "labelled" / "manifest.csv"
    config = load_config(
        f"experiments/data_efficiency/task.py:task=t2,manifest={manifest},pool=pool.csv,id_site=a,"
        "ood_site=b,models=r50x1;r152x2,methods=simclr;moco_v2,seeds=0;1,rates=0.1,minutes=3"
    )
    assert config.arm_order[:5] == (
        "random_r50x1", "standard_r50x1", "strong_r50x1", "strong_simclr_r50x1",
        "strong_moco_v2_r50x1",
    )  # fmt: skip
    assert len(config.arm_order) == 10 and config.baseline_arm == "strong_r50x1"
    assert config.arms.strong_r152x2.start == "bit-m-r152x2"
    assert config.arms.strong_r152x2.overrides == ("model.name=r152x2",)
    assert config.after.moco_v2_r152x2 == "bit-m-r152x2"
    assert config.stages.simclr_r152x2.model.name == "r152x2"
    assert (config.seeds, config.learning_rates, config.minutes_per_label) == ((0, 1), (0.1,), 3)
    with pytest.raises(UserError, match="pool|ood_site is not given"):
        load_config(f"experiments/data_efficiency/task.py:manifest={manifest},id_site=a")
