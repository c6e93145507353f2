"""Every task's three stages in their tiny form, on the task's phantom: do they learn?"""

import json

import pandas as pd
import pytest

import remedis_jax
from remedis_jax.data.phantom.tasks import TaskPhantomSize, write_task_phantom
from remedis_jax.tasks.specification import CLINICAL, get_task
from remedis_jax.weights.artifact import load_artifact

# Pixels of the tiny configs. Small images of different patients have like fingerprints.
SIZE = 24
PATIENTS = TaskPhantomSize(
    pool=20, hospital_a_train=120, hospital_a_val=30, hospital_a_test=60,
    hospital_b_train=1, hospital_b_val=1, hospital_b_test=1,
)  # fmt: skip
# How the tables of a task are put together beyond what its model gives: group column, how.
TOGETHER = {"t4": ("slide_id", "patient:max"), "t6": ("patient_id", "patient:max")}
ONE_DEVICE = ("devices=1",)


@pytest.fixture(scope="module")
def natural(tmp_path_factory, tiny_phantom):
    """The first stage, which all tasks share."""
    run = tmp_path_factory.mktemp("chain") / "natural"
    remedis_jax.train(
        f"experiments/bit/natural.py:tiny,manifest={tiny_phantom}/natural/manifest.csv",
        run,
        overrides=(*ONE_DEVICE, "data.channels=1"),
    )
    return run


@pytest.mark.parametrize("name", CLINICAL)
def test_a_task_learns_in_its_three_stages(name, natural, tmp_path):
    task = get_task(name)
    data = write_task_phantom(name, tmp_path / "data", size=SIZE, scale=PATIENTS)
    remedis_jax.train(
        f"experiments/contrastive/{task.modality}.py:tiny,manifest={data['pool']},init={natural},"
        f"held_out={data['labelled']}",
        tmp_path / "contrastive",
        overrides=(*ONE_DEVICE, "monitor.images=0"),
    )
    tuned = remedis_jax.train(
        f"experiments/finetune/{name}.py:tiny,manifest={data['labelled']},site=hospital_a,"
        f"init={tmp_path / 'contrastive'}",
        tmp_path / "tuned",
        overrides=ONE_DEVICE,
    )
    group, aggregate = TOGETHER.get(name, (task.group, None))
    predictions = remedis_jax.evaluate(
        data["labelled"],
        tmp_path / "tuned",
        tmp_path / "test",
        where={"split": ["test"], "site": ["hospital_a"]},
        columns={"group": group},
        aggregate=aggregate,
        near_duplicates=-1,
    )

    # Each stage went on from the one before it, and saw what it was to see.
    lineage = load_artifact(tuned.weights).card["lineage"]
    assert lineage["init"]["stage"] == "simclr"
    assert lineage["init"]["parent"]["stage"] == "supervised"
    assert lineage["sites"] == ["hospital_a"]
    # A row for each case (image) of the test patients, and none of the other hospital.
    manifest = pd.read_csv(data["labelled"], dtype=str)
    rows = manifest[(manifest.split == "test") & (manifest.site == "hospital_a")]
    table = pd.read_csv(predictions, dtype=str)
    assert sorted(table.image) == sorted(set(rows[task.case or "image"]))
    # What the labels are is counted by case, too.
    counts = json.loads((tmp_path / "test" / "label_treatment.json").read_text())
    assert counts["images"] == len(table)
    # Above chance, by the whole of the interval.
    levels = json.loads((tmp_path / "test" / "metrics.json").read_text())
    judged = {level["level"]: level for level in levels}
    for level in (judged["image"], judged["patient"]) if aggregate else (judged["image"],):
        for metric in task.metrics:
            assert metric in level["metrics"], (name, level["level"], metric)
        found = level["metrics"][task.metric]
        assert found["undefined_resamples"] == 0
        assert found["low"] > chance(task, table), (name, level["level"], found)


def chance(task, table):
    """What the task's metric is for one who has not seen the images."""
    if task.metric == "accuracy":
        return table.label.value_counts(normalize=True).max()
    assert task.metric == "auroc"
    return 0.5
