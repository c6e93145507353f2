"""What features know: planted labels and sites, and what cannot be told."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from remedis_jax.errors import UserError
from remedis_jax.evaluation import embedding_map as module
from remedis_jax.evaluation.embedding_map import (
    Features,
    drawn,
    embedding_map,
    read_features,
    silhouette,
    told_apart,
)
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.report.embedding_section import embedding_sections


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


def planted(n=120, seed=0) -> Features:
    """Forty patients of two labels and two sites; the features know the site and not the label."""
    generator = np.random.default_rng(seed)
    patients = generator.integers(0, 40, n)
    labels, sites = np.array(["sick", "well"])[patients % 2], np.array(["a", "b"])[patients // 20]
    x = generator.normal(size=(n, 8)) + 0.3 * generator.normal(size=(40, 8))[patients]
    x[:, 0] += 12 * (sites == "b")
    names = np.array([f"{i}.png" for i in range(n)])
    return Features("arm", x.astype(np.float32), names, patients.astype(str), labels, sites)


def save(path, planted_features: Features, **changes):
    keys = ("features", "images", "groups", "labels", "sites")
    np.savez(path, **{key: getattr(planted_features, key) for key in keys} | changes)


def test_the_planted_site_is_known_and_the_label_is_not():
    f = planted()
    site = told_apart(f.features, f.sites, f.groups, 0)
    assert site.value == site.low == site.high == 1.0
    label = told_apart(f.features, f.labels, f.groups, 0)
    assert label.low < 0.5 < label.high
    assert silhouette(f.features, f.sites) > 0.5 > 0.1 > silhouette(f.features, f.labels)


def test_patients_are_not_recognised_in_place_of_labels():
    """Labels drawn by patient, features that are the patient: only a split by image tells them."""
    generator = np.random.default_rng(3)
    patients = np.repeat(np.arange(40), 6)
    labels = generator.permutation(np.arange(40) % 2).astype(str)[patients]
    x = 5 * generator.normal(size=(40, 30))[patients] + generator.normal(size=(240, 30))
    assert told_apart(x, labels, patients.astype(str), 0).value < 0.7
    by_image = told_apart(x, labels, np.arange(240).astype(str), 0)
    assert by_image.value > 0.9


def test_what_is_not_there_is_not_told():
    f = planted()
    blank = np.where(np.arange(120) < 3, f.labels, "")
    for names in (np.full(120, ""), np.full(120, "one"), blank):
        assert isinstance(told_apart(f.features, names, f.groups, 0), NotDefined)
    assert isinstance(silhouette(f.features, np.full(120, "one")), NotDefined)


def test_the_map_has_the_variance_that_it_says(monkeypatch):
    f = planted()
    pca, share, tsne = embedding_map(f.features, 0)
    centred = f.features.astype(np.float64) - f.features.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    np.testing.assert_allclose(share, values[:2] / values.sum(), rtol=1e-4)
    np.testing.assert_allclose((pca**2).sum(axis=0), values[:2], rtol=1e-4)
    # t-SNE keeps the two sites apart: nobody's nearest neighbour is of the other one.
    distance = np.linalg.norm(tsne[:, None] - tsne[None], axis=2) + 1e9 * np.eye(120)
    assert (f.sites[distance.argmin(axis=1)] == f.sites).all()
    few = embedding_map(f.features[:5], 0)
    assert few.pca.shape == (5, 2) and isinstance(few.tsne, NotDefined)
    assert isinstance(embedding_map(np.ones((20, 3), np.float32), 0).tsne, NotDefined)
    assert embedding_map(f.features[:20, :1], 0).pca.shape == (20, 2)


def test_points_are_drawn_from_every_site_and_label_by_their_share():
    f = planted(400)
    part = drawn(f, 0, most=100)
    assert len(part) == 100 and len(set(part.images)) == 100
    for attribute in ("labels", "sites"):
        whole, kept = getattr(f, attribute), getattr(part, attribute)
        for name in set(whole):
            assert abs((kept == name).mean() - (whole == name).mean()) < 0.015
    np.testing.assert_array_equal(drawn(f, 0, most=100).images, part.images)
    assert drawn(f, 0) is f


def test_section_shows_every_arm_with_its_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PERPLEXITY", 10.0)
    assert embedding_sections(tmp_path, tmp_path / "out") == []
    save(tmp_path / "Ssl.npz", planted(80))
    save(tmp_path / "base.npz", planted(30, seed=1), labels=np.full(30, "one"))
    (section,) = embedding_sections(tmp_path, tmp_path / "out", {"base": "No *SSL*"})
    for name in ("base", "ssl"):
        assert (tmp_path / "out" / "figures" / f"embedding_{name}.png").is_file()
    text = section.markdown
    assert text.index("No \\*SSL\\*") < text.index("*Ssl: 80 of 80 images, 8 features.*")
    assert "1.000 (1.000–1.000); chance 0.500" in text
    assert "not defined (fewer than two values with 5 patients)" in text
    table = section.tables["embedding_knowledge"].set_index("arm")
    assert table.loc["Ssl", "balanced_accuracy_site"] == 1.0
    assert "not defined" in table.loc["No *SSL*", "balanced_accuracy_label"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.zeros((120, 8))}, "float64 .*, not float32"),
        ({"sites": np.array(["a"])}, r"sites is not text \[120\]"),
        ({"features": np.full((120, 8), np.nan, np.float32)}, "not finite, the first 0.png"),
    ],
)
def test_files_that_are_refused(tmp_path, changes, message):
    save(tmp_path / "arm.npz", planted(), **changes)
    with pytest.raises(UserError, match=message):
        read_features(tmp_path / "arm.npz")
    np.savez(tmp_path / "bare.npz", features=np.zeros((2, 2), np.float32))
    with pytest.raises(UserError, match="has no array 'images'"):
        read_features(tmp_path / "bare.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(UserError, match="cannot be read"):
        read_features(tmp_path / "text.npz")
