"""The phantoms of the six tasks: the same bytes by seed, the right shape, and a signal in them."""

import functools

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv

from remedis_jax.data.phantom import TaskPhantomSize, generate_task_cohort, write_task_phantom
from remedis_jax.data.phantom.streams import stream
from remedis_jax.data.phantom.tasks.cohort import Patient
from remedis_jax.data.phantom.tasks.colorectal import SLOPE
from remedis_jax.data.phantom.tasks.write import TASK_DRAWINGS
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


@functools.cache
def patients_of(name, site="hospital_a"):
    """90 patients of a task at a site, at 24 pixels."""
    return generate_task_cohort(name, 0, site, ["train"] * 90, size=24)


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


def test_a_folder_follows_from_the_seed_and_is_not_overwritten(tmp_path):
    first, again, other = (
        write_task_phantom("t6", tmp_path / name, seed=seed, size=16, scale=SMALL)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    files = sorted(file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*.*"))
    assert len(files) > 50
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    for part in first:
        assert first[part].read_bytes() != other[part].read_bytes()
    assert write_task_phantom("t6", tmp_path / "a", size=16, scale=SMALL) == first
    with pytest.raises(UserError, match="another seed"):
        write_task_phantom("t6", tmp_path / "a", seed=1, size=16, scale=SMALL)
    with pytest.raises(UserError, match="another task"):
        write_task_phantom("t5", tmp_path / "a", size=16, scale=SMALL)


@pytest.mark.parametrize("name", CLINICAL)
def test_patients_follow_from_the_seed_whoever_else_there_is(name):
    for site in ("hospital_a", "hospital_b"):
        many = patients_of(name, site)
        few = generate_task_cohort(name, 0, site, ["train"] * 3, size=24)
        count = len(few.images)
        assert many.images.dtype == np.uint8
        assert few.images.tobytes() == many.images[:count].tobytes()
        pd.testing.assert_frame_equal(few.table, many.table[:count])
        pd.testing.assert_frame_equal(few.latents, many.latents[:count])
    other = generate_task_cohort(name, 1, "hospital_a", ["train"] * 3, size=24)
    seen = {image.tobytes() for image in patients_of(name).images}
    assert len(seen) == len(patients_of(name).images)
    assert not seen & {image.tobytes() for image in other.images}


@pytest.mark.parametrize("name", CLINICAL)
def test_larger_images_are_the_same_pictures(name):
    drawing = TASK_DRAWINGS[name]
    shown = drawing.draw(stream(5, name), Patient("A0000", "hospital_a", "test"))
    # Letters and borders are whole pixels.
    shown.latents.update({n: 0 * v for n, v in shown.latents.items() if n.startswith("border_")})
    shown.latents["letter"] = np.full(len(shown.table["image"]), -1)
    channels = () if drawing.channels == 1 else (3,)
    small, large = (
        drawing.render(
            dict(shown.latents),
            np.zeros((len(shown.table["image"]), size, size, *channels), np.float32),
            "hospital_a",
        )
        for size in (32, 128)
    )
    shrunk = large.reshape(len(large), 32, 4, 32, 4, -1).mean(axis=(2, 4))
    for one, other in zip(small.reshape(shrunk.shape), shrunk, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.95


def features_of(images):
    """Means, spreads and extremes of colours and of their local contrast, [N, F]."""
    images = images.reshape(*images.shape[:3], -1).astype(np.float64) / 255
    rough = np.abs(np.diff(images, axis=1))[:, :, :-1], np.abs(np.diff(images, axis=2))[:, :-1]
    maps = np.concatenate([images[:, :-1, :-1], *rough], axis=-1)
    maps = maps.reshape(len(maps), -1, maps.shape[-1])
    quantiles = np.quantile(maps, (0.02, 0.25, 0.5, 0.75, 0.98), axis=1)
    features = np.concatenate([maps.mean(axis=1), maps.std(axis=1), *quantiles], axis=1)
    return (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-9)


def coarse(images):
    """The images at 8 x 8 pixels, [N, F]: where something is, for what has its place."""
    count, size = images.shape[:2]
    blocks = images.reshape(count, 8, size // 8, 8, size // 8, -1) / 255.0
    features = blocks.mean(axis=(2, 4)).reshape(count, -1)
    return (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-9)


def out_of_fold(features, labels, patients, strength=0.3):
    """Scores of a linear classifier that has not seen the patient."""
    model = LogisticRegression(C=strength, max_iter=500)
    return cross_val_predict(
        model, features, labels, groups=patients, cv=GroupKFold(4), method="predict_proba"
    )[:, 1]


def separated(features, labels, patients, strength=0.3):
    """AUROC of a linear classifier that has not seen the patient."""
    return roc_auc_score(labels, out_of_fold(features, labels, patients, strength))


@pytest.mark.parametrize("name", CLINICAL)
def test_hospitals_look_different(name):
    sites = [patients_of(name, site) for site in ("hospital_a", "hospital_b")]
    both = np.concatenate([one.images for one in sites])
    site = np.repeat([0, 1], [len(one.images) for one in sites])
    patients = pd.concat([one.table.patient_id for one in sites])
    assert separated(features_of(both), site, patients) > 0.9


@pytest.mark.parametrize("name", CLINICAL)
def test_every_label_shows_in_the_images(name):
    """About 180 images or more: a classifier that knows nothing stays below 0.6."""
    one, table = patients_of(name), patients_of(name).table
    features, patients = features_of(one.images), table.patient_id
    if name == "t1":
        answers = {k: table.condition == k for k in sorted(table.condition.unique())}
        assert len(answers) == 5
    elif name == "t3":
        # What the film shows, of which the report is an account; each has its place.
        answers = {finding: one.latents[finding] > 0 for finding in get_task("t3").labels}
        features = np.concatenate([features, coarse(one.images)], axis=1)
    elif name == "t5":
        answers = {"stroma": one.latents.stroma > one.latents.stroma.median()}
    else:
        answers = {k: table[k] == 1 for k in get_task(name).labels}
    for answer, labels in answers.items():
        assert 0.05 < labels.mean() < 0.7, answer
        found = separated(features, labels, patients, 0.1)
        assert found > 0.7, (answer, found)


def test_a_case_of_photographs_tells_more_than_one_of_them():
    one = patients_of("t1")
    features = features_of(one.images)
    badly_lit = (one.latents.visible < 0.5).to_numpy()
    assert 0.3 < badly_lit.mean() < 0.5
    for condition in ("annulea", "erythora"):
        labels = one.table.condition == condition
        scores = out_of_fold(features, labels, one.table.patient_id)
        table = pd.DataFrame({"case": one.table.case_id, "label": labels, "score": scores})
        cases = table.groupby("case").max()
        of_cases = roc_auc_score(cases.label, cases.score)
        assert of_cases > roc_auc_score(labels, scores) + 0.02
        well = roc_auc_score(labels[~badly_lit], scores[~badly_lit])
        assert well > 0.9 and roc_auc_score(labels[badly_lit], scores[badly_lit]) < well - 0.2


def test_reports_of_chest_films():
    one, findings = patients_of("t3"), list(get_task("t3").labels)
    cells = one.table[findings].to_numpy().astype(str)
    strength = one.latents[findings].to_numpy()
    assert set(cells.ravel()) == {"1", "0", "-1", ""}
    assert 0.06 < (cells == "-1").mean() < 0.15 and 0.06 < (cells == "").mean() < 0.15
    assert (strength[cells == "1"] > 0).all() and (strength[cells == "0"] == 0).all()
    faint = (strength > 0) & (strength < 0.6)
    uncertain = [(cells[which] == "-1").mean() for which in (faint, strength >= 0.6, strength == 0)]
    assert uncertain[0] > 0.25 > 0.15 > max(uncertain[1:])
    again = generate_task_cohort("t3", 0, "hospital_a", ["test"] * 90, size=24)
    np.testing.assert_array_equal(again.images, one.images)
    truth = again.table[findings].to_numpy().astype(str)
    np.testing.assert_array_equal(truth, np.where(strength > 0, "1", "0"))


def test_hazards_are_proportional_to_the_share_of_stroma():
    cohort = generate_task_cohort("t5", 0, "hospital_a", ["train"] * 400, size=16)
    table = cohort.table.join(cohort.latents[["share", "stroma"]])
    bags = table.groupby("patient_id")
    np.testing.assert_allclose(bags.stroma.mean(), bags["share"].first())
    people = bags[["time_years", "event", "share"]].first()
    event = people.event == 1
    assert 0.3 < (~event).mean() < 0.5
    assert 0.35 < (event & (people.time_years <= 5)).mean() < 0.6
    assert (people.time_years > 5).mean() > 0.25 and people.time_years.min() > 0
    assert concordance_index_censored(event, people.time_years, people["share"])[0] > 0.8
    survival = Surv.from_arrays(event, people.time_years)
    slope = CoxPHSurvivalAnalysis().fit(people[["share"]], survival).coef_[0]
    # Its standard error is about 0.35.
    assert abs(slope - SLOPE) < 1


def one_value_in_each(table, group, columns):
    return (table.groupby(group)[columns].nunique() == 1).all(axis=None)


def test_cases_of_photographs_and_their_readers():
    table = patients_of("t1").table
    readers = ["reader_1", "reader_2", "reader_3"]
    assert set(table.groupby("case_id").size()) == {1, 2, 3, 4}
    assert set(table.groupby("patient_id").case_id.nunique()) == {1, 2}
    assert one_value_in_each(table, "case_id", ["patient_id", "condition", *readers])
    cases = table.drop_duplicates("case_id")
    for reader in readers:
        assert 0.7 < (cases[reader] == cases.condition).mean() < 0.9
    assert 0.35 < (cases[readers].nunique(axis=1) == 1).mean() < 0.7


def test_slides_of_lymph_nodes():
    table = patients_of("t4").table
    assert set(table.groupby("slide_id").size()) == {2, 3, 4}
    assert set(table.groupby("patient_id").slide_id.nunique()) == {1, 2, 3}
    assert one_value_in_each(table, "slide_id", "patient_id")
    hit = table.groupby("patient_id").tumour.max()
    assert 0.4 < hit.mean() < 0.75 and 0.25 < table.tumour.mean() < 0.45


def test_bags_of_tiles():
    table = patients_of("t5").table
    sizes = table.groupby("patient_id").size()
    assert sizes.min() == 3 and sizes.max() == 12 and sizes.nunique() == 10
    assert one_value_in_each(table, "patient_id", ["time_years", "event"])


def test_views_of_breasts():
    table = patients_of("t6").table
    assert set(table.side_view) == {"L_CC", "L_MLO", "R_CC", "R_MLO"}
    assert (table.side_view == table.laterality + "_" + table["view"]).all()
    assert (table.breast_id == table.exam_id + "_" + table.laterality).all()
    assert not table.duplicated(["exam_id", "side_view"]).any()
    sizes = table.groupby("exam_id").size()
    assert set(sizes) == {3, 4} and 0.02 < (sizes == 3).mean() < 0.2
    assert one_value_in_each(table, "breast_id", "cancer")
    breasts = table.drop_duplicates("breast_id")
    assert 0.2 < breasts.cancer.mean() < 0.45
    exams = table.groupby("exam_id")
    assert (exams.cancer.max() == exams.cancer_exam.min()).all()
    assert (exams.cancer.max() == exams.cancer_exam.max()).all()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("t9", 0, "hospital_a"), "t9"),
        (("t1", -1, "hospital_a"), "-1"),
        (("t1", 0, "hospital_c"), "hospital_c"),
    ],
)
def test_phantoms_that_cannot_be(arguments, named):
    with pytest.raises(UserError, match=named):
        generate_task_cohort(*arguments, ["train"], size=24)


def test_a_size_that_cannot_be():
    with pytest.raises(UserError, match="8 pixels"):
        generate_task_cohort("t1", 0, "archive", ["pool"], size=8)
    with pytest.raises(UserError, match="pool is 0"):
        TaskPhantomSize(pool=0)
