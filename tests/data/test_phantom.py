"""The phantom is learnable, shifted and not trivially separable, and the same seed is the same."""

import dataclasses
import json
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import ks_2samp, norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from remedis_jax.data import Columns, read_manifest
from remedis_jax.data.phantom import (
    ARCHIVE,
    CLASSES,
    HOSPITAL_A,
    HOSPITAL_B,
    Cohort,
    PhantomSize,
    anatomy,
    generate_cohort,
    generate_natural,
    natural,
    write,
    write_phantom,
)
from remedis_jax.errors import UserError

EFFECT_SIZE = 2.2
CEILING = norm.cdf(EFFECT_SIZE / np.sqrt(2))
TRAIN, TEST = 300, 600  # patients; the first are for training
Z = norm.ppf(0.995)  # all intervals below are two-sided 99 %


# --- what the checks are made of


def part(cohort: Cohort, start: int, stop: int) -> Cohort:
    number, _ = pd.factorize(cohort.table["patient_id"])
    rows = (number >= start) & (number < stop)
    return Cohort(cohort.images[rows], cohort.table[rows], cohort.latents[rows])


def sick(cohort: Cohort) -> np.ndarray:
    return (cohort.table["finding"] == "present").to_numpy()


def pixels(cohort: Cohort) -> np.ndarray:
    return cohort.images.reshape(len(cohort.images), -1) / 255.0


def texture(cohort: Cohort) -> np.ndarray:
    """Log energy in three bands (differences of Gaussians) over each lung and the abdomen."""
    image = cohort.images.astype(np.float32) / 255
    size = image.shape[1]
    sigmas = np.array([0.6, 1, 1.6, 2.6]) * size / 40
    smooth = [gaussian_filter(image, (0, sigma, sigma)) for sigma in sigmas]
    boxes = ((0.25, 0.65, 0.15, 0.42), (0.25, 0.65, 0.58, 0.85), (0.68, 0.95, 0.30, 0.70))
    features = []
    for fine, coarse in zip(smooth[:-1], smooth[1:], strict=True):
        energy = (fine - coarse) ** 2
        for box in boxes:
            top, bottom, left, right = (int(edge * size) for edge in box)
            features.append(np.log(energy[:, top:bottom, left:right].mean(axis=(1, 2)) + 1e-6))
    return np.stack(features, axis=1)


def fit(features: np.ndarray, labels: np.ndarray, strength: float = 1.0):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
    return model.fit(features, labels)


def by_patient(cohort: Cohort, score: np.ndarray) -> pd.DataFrame:
    rows = pd.DataFrame({"id": cohort.table["patient_id"], "sick": sick(cohort), "score": score})
    return rows.groupby("id").mean()


def auroc(cohort: Cohort, score: np.ndarray) -> float:
    patients = by_patient(cohort, score)
    return roc_auc_score(patients["sick"] > 0.5, patients["score"])


def chance_interval(cohort: Cohort) -> float:
    """Half width about 0.5 of the Mann-Whitney null distribution over patients."""
    positive = by_patient(cohort, np.zeros(len(cohort.table)))["sick"].sum()
    total = cohort.table["patient_id"].nunique()
    return Z * np.sqrt((total + 1) / (12 * positive * (total - positive)))


def ceiling_interval(cohort: Cohort) -> float:
    """Half width about the ceiling, from the binormal model's variance (Hanley and McNeil)."""
    positive = by_patient(cohort, np.zeros(len(cohort.table)))["sick"].sum()
    negative = cohort.table["patient_id"].nunique() - positive
    q1, q2 = CEILING / (2 - CEILING), 2 * CEILING**2 / (1 + CEILING)
    variance = (
        CEILING * (1 - CEILING)
        + (positive - 1) * (q1 - CEILING**2)
        + (negative - 1) * (q2 - CEILING**2)
    ) / (positive * negative)
    return Z * np.sqrt(variance)


@pytest.fixture(scope="module")
def hospital_a() -> Cohort:
    return generate_cohort(0, TEST, HOSPITAL_A, site="hospital_a")


@pytest.fixture(scope="module")
def hospital_b() -> Cohort:
    return generate_cohort(0, TEST, HOSPITAL_B, site="hospital_b")


@pytest.fixture(scope="module")
def control() -> Cohort:
    return generate_cohort(0, TEST, HOSPITAL_A, site="hospital_a", disease=False)


# --- learnable


@pytest.mark.parametrize("hospital", ["hospital_a", "hospital_b"])
def test_severity_reaches_the_stated_ceiling(hospital, request):
    cohort = request.getfixturevalue(hospital)
    found = auroc(cohort, cohort.latents["severity"])
    assert abs(found - CEILING) < ceiling_interval(cohort)


def test_texture_tells_sick_from_healthy(hospital_a):
    train, test = part(hospital_a, 0, TRAIN), part(hospital_a, TRAIN, TEST)
    found = auroc(test, fit(texture(train), sick(train)).decision_function(texture(test)))
    assert 0.85 < found < CEILING + ceiling_interval(test)


# --- shifted


def test_model_of_a_loses_on_b_and_training_on_b_repairs_it(hospital_a, hospital_b):
    a_train, a_test = part(hospital_a, 0, TRAIN), part(hospital_a, TRAIN, TEST)
    b_train, b_test = part(hospital_b, 0, TRAIN), part(hospital_b, TRAIN, TEST)
    model = fit(texture(a_train), sick(a_train))
    at_home = auroc(a_test, model.decision_function(texture(a_test)))
    abroad = auroc(b_test, model.decision_function(texture(b_test)))
    retrained = fit(texture(b_train), sick(b_train))
    repaired = auroc(b_test, retrained.decision_function(texture(b_test)))
    assert at_home - abroad > 0.08
    assert repaired - abroad > 0.04


def test_hospitals_look_different(hospital_a, hospital_b):
    both = [part(c, 0, TRAIN) for c in (hospital_a, hospital_b)]
    held_out = [part(c, TRAIN, TEST) for c in (hospital_a, hospital_b)]
    site = [np.repeat([0, 1], [len(c.images) for c in pair]) for pair in (both, held_out)]
    model = fit(np.concatenate([texture(c) for c in both]), site[0])
    score = model.decision_function(np.concatenate([texture(c) for c in held_out]))
    assert roc_auc_score(site[1], score) > 0.95


def test_hospitals_have_the_same_disease(hospital_a, hospital_b):
    both = (hospital_a, hospital_b)
    severity = [c.latents.groupby("patient_id")["severity"].first() for c in both]
    assert ks_2samp(*severity).pvalue > 0.01
    assert not set(severity[0]) & set(severity[1])


# --- not trivially separable


def test_nuisance_alone_stays_at_chance(control):
    train, test = part(control, 0, TRAIN), part(control, TRAIN, TEST)
    for features, strength in ((texture, 1.0), (pixels, 0.01)):
        model = fit(features(train), sick(train), strength)
        found = auroc(test, model.decision_function(features(test)))
        assert abs(found - 0.5) < chance_interval(test), features.__name__


def test_control_differs_in_the_disease_alone(hospital_a, control):
    pd.testing.assert_frame_equal(hospital_a.table, control.table)
    rendered = "severity_rendered"
    pd.testing.assert_frame_equal(
        hospital_a.latents.drop(columns=rendered), control.latents.drop(columns=rendered)
    )
    assert control.latents[rendered].nunique() == 1
    assert hospital_a.latents[rendered].equals(hospital_a.latents["severity"])
    # Where the severity is about the control's constant, so is the image; elsewhere it is not.
    gap = np.abs(hospital_a.latents["severity"] - control.latents[rendered]).to_numpy()
    change = np.abs(hospital_a.images.astype(float) - control.images).mean(axis=(1, 2))
    assert change[gap < 0.05].max() < 0.3 < change[hospital_a.latents["severity"] > 2].min()


def test_mean_intensity_does_not_tell(hospital_a, hospital_b):
    for cohort in (hospital_a, hospital_b):
        assert 0.35 < auroc(cohort, pixels(cohort).mean(axis=1)) < 0.65


@pytest.mark.parametrize("patients", [30, 100, TRAIN])
def test_linear_functions_of_pixels_do_not_tell(hospital_a, patients):
    train, test = part(hospital_a, 0, patients), part(hospital_a, TRAIN, TEST)
    model = fit(pixels(train), sick(train), strength=0.01)
    assert auroc(test, model.decision_function(pixels(test))) < 0.65


def test_images_depend_on_the_label_through_severity_alone():
    rare, common = (
        generate_cohort(3, 12, HOSPITAL_A, site="hospital_a", effect_size=0, prevalence=p)
        for p in (0.1, 0.9)
    )
    assert (rare.table["finding"] != common.table["finding"]).any()
    np.testing.assert_array_equal(rare.images, common.images)


def test_contrast_of_the_disease_rises_with_severity():
    contrast = anatomy.disease_contrast(np.linspace(-5, 8, 200))
    assert (np.diff(contrast) > 0).all()
    np.testing.assert_allclose(anatomy.disease_contrast(1.5), 0.06)


def test_age_and_sex_do_not_tell(hospital_a, hospital_b):
    for cohort in (hospital_a, hospital_b):
        for value in (cohort.table["age"], cohort.table["sex"] == "F"):
            assert abs(auroc(cohort, value) - 0.5) < chance_interval(cohort)


# --- patients


def test_patients_have_one_to_four_images(hospital_a):
    images = hospital_a.table.groupby("patient_id")["image"]
    assert set(images.count()) == {1, 2, 3, 4}
    assert hospital_a.table["image"].is_unique
    assert images.first()["A0042"] == "A0042_0.png"
    constant = hospital_a.table.drop(columns="image").join(hospital_a.latents["severity"])
    assert (constant.groupby("patient_id").nunique() == 1).all(axis=None)


def test_same_seed_same_bytes(hospital_a):
    again = generate_cohort(0, TEST, HOSPITAL_A, site="hospital_a")
    assert hospital_a.images.dtype == np.uint8
    assert hospital_a.images.tobytes() == again.images.tobytes()
    pd.testing.assert_frame_equal(hospital_a.latents, again.latents)
    other = generate_cohort(1, 5, HOSPITAL_A, site="hospital_a")
    assert not set(other.latents["severity"]) & set(hospital_a.latents["severity"])


def test_more_patients_leave_the_earlier_ones_as_they_are(hospital_a):
    few = generate_cohort(0, 7, HOSPITAL_A, site="hospital_a")
    assert few.images.tobytes() == hospital_a.images[: len(few.images)].tobytes()
    pd.testing.assert_frame_equal(few.latents, hospital_a.latents[: len(few.images)])


def test_larger_images_are_the_same_films():
    clean = dataclasses.replace(
        HOSPITAL_A, noise=(0, 0), marker_chance=0.0, collimation_chance=0.0
    )
    small, large = (
        generate_cohort(0, 4, clean, site="hospital_a", size=size).images for size in (40, 160)
    )
    shrunk = large.reshape(-1, 40, 4, 40, 4).mean(axis=(2, 4))
    for one, other in zip(small, shrunk, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.98


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"seed": -1}, "seed"),
        ({"patients": 0}, "patients"),
        ({"site": "hospital_c"}, "hospital_c"),
        ({"size": 8}, "size"),
        ({"prevalence": 1.0}, "prevalence"),
        ({"effect_size": -1}, "effect_size"),
    ],
)
def test_arguments_out_of_range_are_named(wrong, named):
    arguments = {"seed": 0, "patients": 1, "acquisition": HOSPITAL_A, "site": "hospital_a"} | wrong
    with pytest.raises(UserError, match=named):
        generate_cohort(**arguments)


# --- acquisition: each setting does what it says, and nothing to the patient


def taken_with(**settings) -> np.ndarray:
    acquisition = dataclasses.replace(
        HOSPITAL_A, **{"marker_chance": 0.0, "collimation_chance": 0.0} | settings
    )
    return generate_cohort(0, 6, acquisition, site="hospital_a").images.astype(float)


def test_intensity_curve_and_brightness():
    plain = taken_with(gamma=(1, 1), contrast=(1, 1), brightness=(0, 0), noise=(0, 0))
    darker = taken_with(gamma=(2, 2), contrast=(1, 1), brightness=(0, 0), noise=(0, 0))
    # Both are rounded to 1/255, and a square doubles the error of its base.
    np.testing.assert_allclose(darker / 255, (plain / 255) ** 2, atol=1.6 / 255)
    shifted = taken_with(gamma=(1, 1), contrast=(0.5, 0.5), brightness=(0.1, 0.1), noise=(0, 0))
    expected = 0.5 * plain / 255 + 0.25 + 0.1
    np.testing.assert_allclose(shifted / 255, expected, atol=1 / 255)


def test_blur_takes_the_edges_off():
    sharp, soft = (taken_with(blur=(b, b), noise=(0, 0)) for b in (0.002, 0.03))
    assert np.abs(np.diff(soft)).mean() < 0.8 * np.abs(np.diff(sharp)).mean()


@pytest.mark.parametrize("grain", [0.004, 0.02])
def test_noise_has_the_stated_strength_whatever_its_grain(grain):
    clean, noisy = (taken_with(noise=(n, n), grain=(grain, grain)) for n in (0, 0.05))
    inside = (clean > 60) & (clean < 195)  # where three sigma are not clipped
    assert np.std((noisy - clean)[inside]) == pytest.approx(0.05 * 255, rel=0.05)


def test_collimation_blackens_all_four_borders():
    images = taken_with(collimation_chance=1.0, collimation_width=(0.1, 0.1))
    border = np.ones((40, 40), bool)
    border[4:-4, 4:-4] = False
    assert images[:, border].max() == 0
    assert images[:, ~border].min(axis=0).max() > 0


@pytest.mark.parametrize(
    ("corner", "rows", "columns"),
    [
        ("top left", slice(0, 20), slice(0, 20)),
        ("top right", slice(0, 20), slice(20, 40)),
        ("bottom left", slice(20, 40), slice(0, 20)),
        ("bottom right", slice(20, 40), slice(20, 40)),
    ],
)
def test_marker_lies_in_its_corner(corner, rows, columns):
    marked = taken_with(marker_chance=1.0, marker_letters="T", marker_corners=(corner,))
    changed = marked != taken_with()
    assert changed[:, rows, columns].any(axis=(1, 2)).all()
    changed[:, rows, columns] = False
    assert not changed.any()


def test_archive_spans_both_hospitals_devices():
    settings = generate_cohort(0, 200, ARCHIVE, site="archive").latents
    for hospital in (HOSPITAL_A, HOSPITAL_B):
        for name in ("gamma", "noise", "grain", "blur"):
            low, high = getattr(hospital, name)
            inside = settings[name].between(low, high)
            assert 0.05 < inside.mean() < 0.95, name


# --- natural images


def test_natural_classes_take_turns_and_earlier_images_stay():
    many, few = generate_natural(0, 300), generate_natural(0, 23)
    assert many.table["label"].value_counts().to_dict() == dict.fromkeys(CLASSES, 30)
    assert many.images.shape == (300, 40, 40) and many.images.dtype == np.uint8
    assert few.images.tobytes() == many.images[:23].tobytes()
    assert generate_natural(1, 5).images.tobytes() != many.images[:5].tobytes()


def test_stripes_run_one_way_and_spots_do_not():
    images = generate_natural(0, 400)
    smooth = gaussian_filter(images.images.astype(float), (0, 1, 1))
    along_y, along_x = np.gradient(smooth, axis=(1, 2))
    xx, yy, xy = (
        (one * other).sum(axis=(1, 2))
        for one, other in ((along_x, along_x), (along_y, along_y), (along_x, along_y))
    )
    coherence = np.hypot(xx - yy, 2 * xy) / (xx + yy)
    assert roc_auc_score(images.table["label"].str.startswith("striped"), coherence) > 0.85


@pytest.mark.parametrize("shape", natural.SHAPES)
def test_shapes_fit_their_circle(shape):
    grid = np.linspace(-1.5, 1.5, 301)
    depth = natural._depth(shape, *np.meshgrid(grid, grid))
    radius = np.hypot(*np.meshgrid(grid, grid))
    assert (depth[radius > 1.15] < 0).all()
    assert 0.15 < (depth > 0).sum() * 0.01**2 / np.pi < 0.9
    assert (depth[150, 150] < 0) == (shape == "ring")


# --- on disk


def test_folder_is_what_the_manifest_says(tiny_phantom):
    columns = Columns(group="patient_id", labels=("finding",), site="site", split="split")
    labelled = read_manifest(tiny_phantom / "labelled/manifest.csv", columns)
    table, sizes = labelled.table, dataclasses.asdict(PhantomSize.tiny())
    for site in ("hospital_a", "hospital_b"):
        for split in ("train", "val", "test"):
            rows = table[(table["site"] == site) & (table["split"] == split)]
            assert rows["patient_id"].nunique() == sizes[f"{site}_{split}"]
            assert set(rows["finding"]) == {"absent", "present"}
    assert (table.groupby("patient_id")["split"].nunique() == 1).all()
    assert {"A0000", "B0007"} <= set(table["patient_id"])

    pool = read_manifest(
        tiny_phantom / "pool/manifest.csv", Columns(group="patient_id", split="split")
    )
    assert set(pool.table["split"]) == {"pool"}
    assert "finding" not in pool.table
    assert not set(pool.groups) & set(labelled.groups)

    shapes = read_manifest(
        tiny_phantom / "natural/manifest.csv", Columns(labels=("label",), split="split")
    )
    assert shapes.table["split"].value_counts().to_dict() == {"train": 40, "val": 10}

    size = json.loads((tiny_phantom / "phantom.json").read_text())["size"]
    for manifest in (labelled, pool, shapes):
        assert not [name for name in manifest.table if "severity" in name]
        for path in manifest.image_paths:
            with Image.open(path) as image:
                assert (image.format, image.mode, image.size) == ("PNG", "L", (size, size))


def test_files_hold_the_generated_images_and_latents(tiny_phantom):
    size = json.loads((tiny_phantom / "phantom.json").read_text())["size"]
    cohort = generate_cohort(0, 32, HOSPITAL_A, site="hospital_a", size=size)
    folder = tiny_phantom / "labelled"
    for name, image in zip(cohort.table["image"], cohort.images, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(folder / "images" / name)), image)
    latents = pd.read_csv(folder / "latents.csv", dtype={"patient_id": str}).set_index("image")
    written = latents.loc["images/" + cohort.table["image"], "severity"]
    np.testing.assert_array_equal(written, cohort.latents["severity"])


SMALLEST = PhantomSize(**dict.fromkeys(dataclasses.asdict(PhantomSize()), 1))


def test_writing_again_returns_at_once(tmp_path, monkeypatch):
    first = write_phantom(tmp_path / "data", scale=SMALLEST)
    receipt = json.loads((tmp_path / "data/phantom.json").read_text())
    assert (receipt["seed"], receipt["size"]) == (0, 40) and len(receipt["sha256"]) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    monkeypatch.setattr(write, "generate_cohort", None)
    assert write_phantom(tmp_path / "data", scale=SMALLEST) == first
    parts = ("natural", "pool", "labelled")
    assert first == {part: tmp_path / f"data/{part}/manifest.csv" for part in parts}


def test_another_phantom_is_not_overwritten(tmp_path):
    write_phantom(tmp_path / "data", scale=SMALLEST)
    with pytest.raises(UserError, match="another seed and size"):
        write_phantom(tmp_path / "data", seed=1, size=48, scale=SMALLEST)
    with pytest.raises(UserError, match="another scale"):
        write_phantom(tmp_path / "data", scale=PhantomSize.tiny())
    with (tmp_path / "data/pool/manifest.csv").open("a") as file:
        file.write("images/more.png,U0099,archive,50,F,pool\n")
    with pytest.raises(UserError, match=r"pool.manifest\.csv is missing or was changed"):
        write_phantom(tmp_path / "data", scale=SMALLEST)


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("do not lose")
    with pytest.raises(UserError, match="is no phantom"):
        write_phantom(tmp_path, scale=SMALLEST)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(write, "_write_labelled", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_phantom(tmp_path / "data", scale=SMALLEST)
    assert list(tmp_path.iterdir()) == []


def test_a_part_cannot_be_empty():
    with pytest.raises(UserError, match="pool is 0"):
        PhantomSize(pool=0)


def test_generation_takes_seconds():
    start = time.process_time()
    generate_cohort(9, 100, ARCHIVE, site="archive")
    # About 0.25 s on one core; the whole default phantom has 28 times as many patients.
    assert time.process_time() - start < 2.5
