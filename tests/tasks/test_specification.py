"""The specifications agree with the data sets, recipes, metrics and configs that they name."""

import dataclasses
import re
from pathlib import Path

import pytest

from remedis_jax.augment import get_recipe
from remedis_jax.data.label_policy import LabelPolicy
from remedis_jax.data.tfds_sets.stand_ins import stand_ins
from remedis_jax.errors import UserError
from remedis_jax.evaluation.metrics import NAMES
from remedis_jax.models.case_head import POOLINGS
from remedis_jax.objectives.supervised import label_kind
from remedis_jax.tasks.document import tasks_markdown
from remedis_jax.tasks.mammography import mammography_task
from remedis_jax.tasks.specification import CLINICAL, TASKS, get_task
from remedis_jax.tasks.task import FROM_MEMORY, MARKS, MODALITIES, NOT_KNOWN, VERIFIED
from remedis_jax.training.config import stage_config

ROOT = Path(__file__).parents[2]
EVERY_TASK = [*(get_task(name) for name in TASKS), mammography_task("exam")]


def test_there_are_the_six_of_the_paper_in_five_modalities():
    assert CLINICAL == ("t1", "t2", "t3", "t4", "t5", "t6")
    assert {TASKS[name].modality for name in CLINICAL} == set(MODALITIES)
    for name in CLINICAL:
        assert (ROOT / f"experiments/finetune/{name}.py").is_file()
        assert (ROOT / f"experiments/contrastive/{TASKS[name].modality}.py").is_file()


@pytest.mark.parametrize("task", EVERY_TASK, ids=lambda task: task.labels[0])
def test_a_specification_names_what_exists(task):
    kind = label_kind(task.kind)
    assert all(label_kind(other) == kind for other in task.other_kinds)
    assert task.metric == task.metrics[0] and set(task.metrics) <= NAMES.keys()
    assert task.pooling in POOLINGS
    get_recipe(task.recipe, **task.pretrain_options)
    get_recipe("finetune", **task.finetune_options)
    data = stage_config("supervised").data.unlock()
    data.update(dict(task.label_policy))
    LabelPolicy.of(data).require_known(task.labels)
    if kind == "survival":
        # (time, event), and the horizon is the end of an interval.
        assert len(task.labels) == 2 and task.horizon in task.intervals
        assert list(task.intervals) == sorted(task.intervals)
    else:
        assert not task.intervals and not task.horizon
    if task.views:
        assert task.case and task.view and task.case_images == len(task.views)
    assert bool(task.case) == bool(task.case_images)
    # Predictions come by the case where an example is one.
    assert task.levels[0] == (task.case or "image", "mean")


@pytest.mark.parametrize("name", CLINICAL)
def test_every_statement_about_the_paper_has_its_mark(name):
    task = get_task(name)
    assert task.ours and {mark for _, mark in task.known_of_paper} <= set(MARKS)
    assert any(mark == VERIFIED for _, mark in task.known_of_paper)
    # None of the paper's per-task numbers could be read.
    marks = dict(task.known_of_paper)
    assert not any(re.search(r"\d%|0\.\d", text) for text in marks)
    assert all(m in (FROM_MEMORY, NOT_KNOWN) for text, m in marks.items() if "score" in text)


@pytest.mark.parametrize("name", CLINICAL)
def test_public_data_are_those_that_can_be_read(name):
    task = get_task(name)
    for part, sets in (
        ("unlabelled", task.unlabelled_pool),
        ("in_distribution", task.in_distribution),
        ("out_of_distribution", task.out_of_distribution),
    ):
        assert [s.reader for s in sets if s.reader] == [
            s.reference for s in stand_ins(name.upper(), part)
        ]
        assert sets and all(s.access for s in sets)
        for found in sets:
            assert found.settings.keys() <= set(stage_config("supervised").data)
            if found.reader and part != "unlabelled":
                assert len(found.settings["labels"]) == len(task.labels)


def test_an_unknown_task_is_refused_with_its_neighbour():
    with pytest.raises(UserError, match="Did you mean 'phantom'"):
        get_task("fantom")
    with pytest.raises(UserError, match="breast or exam"):
        mammography_task("patient")


def test_tasks_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_task("t1").labels = ("other",)
    with pytest.raises(TypeError):
        TASKS["t7"] = get_task("t1")


def test_the_document_is_up_to_date():
    # python -m remedis_jax.tasks.document > docs/tasks.md
    assert (ROOT / "docs" / "tasks.md").read_text() == tasks_markdown()
