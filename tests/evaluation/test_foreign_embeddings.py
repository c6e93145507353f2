"""Embeddings as other tools write them: read where it is clear, refused where it is not."""

import h5py
import numpy as np
import pandas as pd
import pytest

from remedis_jax.errors import UserError
from remedis_jax.evaluation.embedding_files import Embeddings, write_embeddings
from remedis_jax.evaluation.foreign_embeddings import read_features

FEATURES = np.arange(12, dtype=np.float32).reshape(3, 4) / 7
NAMES = ["a.png", "b.png", "c.png"]


def wide(**columns) -> pd.DataFrame:
    frame = pd.DataFrame(FEATURES, columns=[f"embedding_{i}" for i in range(4)])
    return frame.assign(**({"filename": NAMES} | columns))


def save(path, kind: str) -> None:
    if kind == "list":
        table = pd.DataFrame({"image_id": NAMES, "emb": list(FEATURES), "age": [1.5, 2, 3]})
        table.to_parquet(path)
    elif kind == "ours":
        table = pd.DataFrame({"row": [2, 3, 4], "image": NAMES, "label": ["x"] * 3})
        write_embeddings(path, Embeddings(FEATURES, table, {"weights": "w"}))
    elif path.suffix == ".parquet":
        wide(labels=[0, 0, 0]).to_parquet(path)
    elif path.suffix == ".csv":
        wide(labels=[0, 0, 0]).to_csv(path, index=False)
    elif path.suffix == ".npz":
        np.savez(path, embeddings=FEATURES.astype(np.float64), filenames=NAMES, epoch=3)
    else:
        with h5py.File(path, "w") as file:
            file["features"], file["names"] = FEATURES, NAMES


@pytest.mark.parametrize(
    ("file", "kind", "image", "features"),
    [
        ("e.parquet", "wide", "filename", "embedding_0 to embedding_3"),
        ("e.csv", "wide", "filename", "embedding_0 to embedding_3"),
        ("e.parquet", "list", "image_id", "emb"),
        ("e.npz", "arrays", "filenames", "embeddings"),
        ("e.h5", "arrays", "names", "features"),
        ("e.parquet", "ours", "image", "remedis embed"),
        ("e.npz", "ours", "image", "remedis embed"),
    ],
)
def test_every_form_gives_the_same_features(tmp_path, file, kind, image, features):
    save(tmp_path / file, kind)
    found = read_features(tmp_path / file)
    assert list(found.images) == NAMES and found.features.dtype == np.float32
    np.testing.assert_allclose(found.features, FEATURES, rtol=1e-6)
    assert found.read == {"image": image, "features": features}


def test_rows_that_could_not_be_embedded_are_told_apart(tmp_path):
    features = FEATURES.copy()
    features[1] = np.nan
    table = pd.DataFrame({"row": [2, 3, 4], "image": NAMES, "problem": ["", "truncated", ""]})
    write_embeddings(tmp_path / "e.npz", Embeddings(features, table, {"weights": "w"}))
    found = read_features(tmp_path / "e.npz")
    assert found.images == ("a.png", "c.png") and found.unusable == ("b.png",)


def test_the_user_says_which_matrix_is_meant(tmp_path):
    path = tmp_path / "e.npz"
    np.savez(path, cls=FEATURES, patches=-FEATURES, images=NAMES)
    with pytest.raises(UserError, match="features could be 'cls' or 'patches'.*--column features"):
        read_features(path)
    np.testing.assert_array_equal(read_features(path, {"features": "cls"}).features, FEATURES)
    two = wide().assign(**{f"pca_{i}": FEATURES[:, i] for i in range(2)})
    two.to_csv(tmp_path / "e.csv", index=False)
    with pytest.raises(UserError, match="'embedding_0' to 'embedding_3' or 'pca_0' to 'pca_1'"):
        read_features(tmp_path / "e.csv")
    found = read_features(tmp_path / "e.csv", {"features": "embedding_"})
    np.testing.assert_allclose(found.features, FEATURES, rtol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": FEATURES}, "does not name the images of its 3 rows; .* has nothing"),
        ({"features": FEATURES, "images": ["a", "b", "a"]}, "1 image.s. stand .* twice: a"),
        ({"features": np.full((3, 4), np.inf), "images": NAMES}, "3 image.* NaN or infinite: a"),
        ({"vector": FEATURES[0], "images": NAMES}, "no matrix of features; it has images, vector"),
        ({"features": FEATURES, "images": np.array(NAMES, object)}, "no readable file"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "e.npz", **arrays)
    with pytest.raises(UserError, match=message) as caught:
        read_features(tmp_path / "e.npz")
    assert "e.npz" in caught.value.problem and "\n" not in str(caught.value)


def test_files_that_would_have_to_be_unpickled_are_not_opened(tmp_path):
    (tmp_path / "e.pt").write_bytes(b"\x80\x02")
    with pytest.raises(UserError, match="unpickled"):
        read_features(tmp_path / "e.pt")
    with pytest.raises(UserError, match="does not exist"):
        read_features(tmp_path / "absent.npz")
    wide().drop(columns="embedding_2").to_csv(tmp_path / "gap.csv", index=False)
    with pytest.raises(UserError, match="'embedding_0' to 'embedding_3' have gaps"):
        read_features(tmp_path / "gap.csv")
