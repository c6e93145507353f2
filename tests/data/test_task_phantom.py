"""The phantoms of the six tasks: the same bytes by seed, the right shape, and a signal in them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from remedis_jax.data.phantom import TaskPhantomSize, generate_task_cohort, write_task_phantom
from remedis_jax.errors import UserError
from remedis_jax.tasks.specification import CLINICAL, get_task

COLUMNS = {
    "t1": {"patient_id", "case_id", "condition", "reader_1", "reader_2", "reader_3"},
    "t2": {"patient_id", "edema"},
    "t3": {"patient_id", "atelectasis", "consolidation", "pulmonary_edema", "pleural_effusion",
           "cardiomegaly"},
    "t4": {"patient_id", "slide_id", "tumour"},
    "t5": {"patient_id", "time_years", "event"},
    "t6": {"patient_id", "exam_id", "breast_id", "laterality", "view", "side_view", "cancer",
           "cancer_exam"},
}  # fmt: skip
SMALL = TaskPhantomSize(
    pool=6, hospital_a_train=6, hospital_a_val=3, hospital_a_test=3,
    hospital_b_train=4, hospital_b_val=2, hospital_b_test=2,
)  # fmt: skip


@pytest.fixture(scope="module", params=CLINICAL)
def cohort(request):
    """(task, 90 patients of hospital A and as many of B) at 24 pixels."""
    name = request.param
    sites = {
        site: generate_task_cohort(name, 0, site, ["train"] * 90, size=24)
        for site in ("hospital_a", "hospital_b")
    }
    return name, sites


def test_every_table_has_what_its_task_reads(tmp_path):
    for name in CLINICAL:
        paths = write_task_phantom(name, tmp_path / name, size=16, scale=SMALL)
        labelled = pd.read_csv(paths["labelled"], dtype=str, keep_default_na=False)
        assert COLUMNS[name] | {"image", "site", "split"} <= set(labelled.columns)
        task = get_task(name)
        assert set(task.labels) | set(task.readers) | {task.group} <= set(labelled.columns)
        # No patient is in two splits or at two sites.
        assert (labelled.groupby("patient_id")[["site", "split"]].nunique() == 1).all().all()
        assert set(labelled.split) == {"train", "val", "test"}
        pool = pd.read_csv(paths["pool"], dtype=str)
        assert not set(pool.columns) & {*task.labels, *task.readers}
        assert not set(pool.patient_id) & set(labelled.patient_id)
        for manifest in paths.values():
            names = pd.read_csv(manifest).image
            assert names.is_unique and all((manifest.parent / image).is_file() for image in names)


def test_bytes_follow_from_the_seed(tmp_path):
    first, again, other = (
        write_task_phantom("t6", tmp_path / name, seed=seed, size=16, scale=SMALL)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    for part in first:
        assert first[part].read_bytes() == again[part].read_bytes()
        assert first[part].read_bytes() != other[part].read_bytes()
    image = pd.read_csv(first["labelled"]).image[0]
    folders = [paths["labelled"].parent for paths in (first, again, other)]
    contents = [(folder / image).read_bytes() for folder in folders if (folder / image).is_file()]
    assert contents[0] == contents[1]
    with pytest.raises(UserError, match="another"):
        write_task_phantom("t6", tmp_path / "a", seed=1, size=16, scale=SMALL)


def features_of(images):
    """Means, spreads and extremes of colours and of their local contrast, [N, F]."""
    images = images.reshape(*images.shape[:3], -1).astype(np.float64) / 255
    rough = np.abs(np.diff(images, axis=1))[:, :, :-1], np.abs(np.diff(images, axis=2))[:, :-1]
    maps = np.concatenate([images[:, :-1, :-1], *rough], axis=-1)
    maps = maps.reshape(len(maps), -1, maps.shape[-1])
    quantiles = np.quantile(maps, (0.02, 0.25, 0.5, 0.75, 0.98), axis=1)
    features = np.concatenate([maps.mean(axis=1), maps.std(axis=1), *quantiles], axis=1)
    return (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-9)


def separated(features, labels):
    """AUROC of a cross-validated linear classifier."""
    model = LogisticRegression(C=0.3, max_iter=500)
    scores = cross_val_predict(model, features, labels, cv=4, method="predict_proba")[:, 1]
    return roc_auc_score(labels, scores)


def question(name, table):
    """A yes or no about each image that its task asks, of those for which it is known."""
    if name == "t1":
        return (table.condition == sorted(table.condition.unique())[0]).astype(int)
    if name == "t5":
        return ((table.event.astype(int) == 1) & (table.time_years.astype(float) < 3)).astype(int)
    column = {"t2": "edema", "t3": "cardiomegaly", "t4": "tumour", "t6": "cancer"}[name]
    return table[column].astype(str)


def test_the_labels_show_in_the_images_and_the_hospitals_too(cohort):
    name, sites = cohort
    one = sites["hospital_a"]
    answers = pd.Series(question(name, one.table)).reset_index(drop=True)
    known = answers.astype(str).isin(["0", "1"]).to_numpy()
    labels = answers[known].astype(int).to_numpy()
    assert 0.05 < labels.mean() < 0.8
    features = features_of(one.images)[known]
    # Coarse features see something of every label (mammography's lesions are hardest to see so).
    assert separated(features, labels) > (0.55 if name in ("t5", "t6") else 0.6)
    both = np.concatenate([cohort.images for cohort in sites.values()])
    site = np.repeat([0, 1], [len(cohort.images) for cohort in sites.values()])
    assert separated(features_of(both), site) > 0.9


def test_readers_uncertainty_bags_and_views_are_as_they_should_be(cohort):
    name, sites = cohort
    table = sites["hospital_a"].table.astype(str)
    sizes = table.groupby(get_task(name).case or "patient_id").size()
    if name == "t1":
        assert set(sizes) == {1, 2, 3, 4}
        readers = table.drop_duplicates("case_id")[["reader_1", "reader_2", "reader_3"]]
        agree = (readers.nunique(axis=1) == 1).mean()
        assert 0.2 < agree < 0.95
    elif name == "t3":
        cells = table[list(get_task("t3").labels)].stack()
        assert set(cells) == {"1", "0", "-1", ""}
        assert 0.04 < (cells == "-1").mean() < 0.2 and 0.04 < (cells == "").mean() < 0.2
    elif name == "t5":
        assert sizes.min() >= 3 and sizes.max() <= 12 and sizes.nunique() > 4
        people = table.drop_duplicates("patient_id")
        assert 0.2 < (people.event == "0").mean() < 0.6
        assert (people.time_years.astype(float) > 5).sum() > 10
    elif name == "t6":
        assert set(sizes) == {1, 2} and (sizes == 1).mean() < 0.2
        breasts = table.drop_duplicates("breast_id")
        assert 0.15 < (breasts.cancer == "1").mean() < 0.5
        exams = breasts.groupby("exam_id")
        assert (exams.cancer.max() == exams.cancer_exam.first()).all()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(("t9", 0, "hospital_a"), "t9"), (("t1", -1, "hospital_a"), "-1")],
)
def test_phantoms_that_cannot_be(arguments, named):
    with pytest.raises(UserError, match=named):
        generate_task_cohort(*arguments, ["train"], size=24)
