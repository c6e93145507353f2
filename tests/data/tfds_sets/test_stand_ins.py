"""The list of stand-ins names only what the data sets have."""

import re

import pytest

from remedis_jax.data.tfds_columns import _CHEXPERT
from remedis_jax.data.tfds_sets.prepare import builder_class, names
from remedis_jax.data.tfds_sets.stand_ins import CELLS, DATA_SETS, STAND_INS, stand_ins

TASKS = ("T1", "T2", "T3", "T4", "T5", "T6")
IDS = [f"{s.task}-{s.part}-{s.reference}" for s in STAND_INS]


def features_of(stand_in, folder):
    import tensorflow_datasets as tfds

    name, _, config = stand_in.name.partition("/")
    if stand_in.data_set.built_by == "ours":
        return builder_class(name)(data_dir=folder).info.features
    return tfds.builder(name, config=config or None, data_dir=folder).info.features


@pytest.mark.parametrize("stand_in", STAND_INS, ids=IDS)
def test_its_columns_exist(stand_in, tmp_path):
    import tensorflow_datasets as tfds

    features = features_of(stand_in, str(tmp_path))
    columns = [stand_in.image, stand_in.group, stand_in.site, *stand_in.rows]
    named = {*features, *(_CHEXPERT if stand_in.name == "chexpert" else ())}
    for column in filter(None, [*columns, *stand_in.labels.values()]):
        assert column in named
    for column, values in stand_in.rows.items():
        if isinstance(features[column], tfds.features.ClassLabel):
            assert set(values) <= set(features[column].names)
    assert bool(stand_in.labels) == bool(stand_in.rule) or stand_in.part == "unlabelled"
    assert stand_in.reference == f"tfds:{stand_in.name}:{stand_in.split}"


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_every_part(task):
    for part in ("in_distribution", "out_of_distribution", "unlabelled"):
        found = stand_ins(task, part)
        assert found and all(s.task == task and s.part == part for s in found)
    assert all(not s.labels for s in stand_ins(task, "unlabelled"))
    labels = {tuple(s.labels) for s in (*stand_ins(task, "in_distribution"),)}
    # What a model learns on one side is scored on the other.
    assert {tuple(s.labels) for s in stand_ins(task, "out_of_distribution")} <= labels


def test_every_set_is_used_and_every_use_is_a_set():
    used = {s.name.partition("/")[0] for s in STAND_INS}
    assert used == set(DATA_SETS)
    assert {name for name, about in DATA_SETS.items() if about.built_by == "ours"} == set(names())


def test_names_of_the_findings_in_chexpert():
    # The columns after the five that describe the image, in the order of the released table.
    table = (
        "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,"
        "Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,"
        "Support Devices"
    ).split(",")
    assert [name.lower().replace(" ", "_") for name in table] == list(_CHEXPERT)


@pytest.mark.parametrize(
    "name, cell, group",
    [
        ("chexpert", "CheXpert-v1.0-small/train/patient00007/study1/view1.jpg", "patient00007"),
        ("diabetic_retinopathy_detection/original", "10003_left", "10003"),
    ],
)
def test_group_patterns(name, cell, group):
    for stand_in in STAND_INS:
        if stand_in.name == name:
            assert re.search(stand_in.group_pattern, cell)[0] == group


def test_cells_cover_every_state():
    from remedis_jax.data.tfds_sets.stand_in_builder import FOUR_STATES, TWO_STATES, UNGRADED
    from remedis_jax.data.tfds_sets.tcga_crc_features import tcga_crc_features_dataset_builder

    events = tcga_crc_features_dataset_builder.EVENTS
    assert set(CELLS) == {*FOUR_STATES, *TWO_STATES, UNGRADED, *events}
