"""Tile features of TRIDENT, CLAM and STAMP: shapes, units, bags by slide, files that are wrong."""

import pickle
import sys

import h5py
import numpy as np
import pandas as pd
import pytest

from remedis_jax.data import Columns, read_manifest
from remedis_jax.data.open_manifest import open_manifest
from remedis_jax.data.tile_features import open_bag, slide_bags
from remedis_jax.errors import UserError

FEATURES = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float16)
COORDS = np.arange(10).reshape(5, 2) * 256


def write(path, features=FEATURES, coords=COORDS, name="features", **attrs):
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file[name] = features
        if coords is not None:
            file["coords"] = coords
        file.attrs.update(attrs)
    return path


def test_trident_and_clam(tmp_path):
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["features"].attrs["encoder"] = "uni_v1"
        file["coords"].attrs.update({"patch_size": 256, "patch_size_level0": np.int64(512)})
    bag = open_bag(path)
    assert (bag.count, bag.width, bag.unit) == (5, 3, "px")
    assert bag.coords.dtype == np.int64 and bag.coords.tolist() == COORDS.tolist()
    assert dict(bag.attrs) == {"encoder": "uni_v1", "patch_size": 256, "patch_size_level0": 512}
    features = bag.features()
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, FEATURES.astype(np.float32))
    some = np.array([4, 0, 4, 2])
    np.testing.assert_array_equal(bag.features(some), features[some])
    np.testing.assert_array_equal(bag.features(slice(1, 3)), features[1:3])


def test_a_leading_axis_of_one(tmp_path):
    bag = open_bag(write(tmp_path / "a.h5", FEATURES[None], COORDS[None]))
    assert bag.coords.shape == (5, 2)
    some = np.array([3, 1])
    np.testing.assert_array_equal(bag.features(some), FEATURES[some].astype(np.float32))


def test_stamp(tmp_path):
    path = write(tmp_path / "a.h5", coords=COORDS / 3, name="feats", stamp_version="2.4.0")
    bag = open_bag(path)
    assert bag.unit == "um" and bag.attrs["stamp_version"] == "2.4.0"
    np.testing.assert_array_equal(bag.coords, COORDS / 3)
    assert open_bag(write(path, name="feats", unit="px")).unit == "px"
    with pytest.raises(UserError, match="'coords' are in 'mm'"):
        open_bag(write(path, name="feats", unit="mm"))


def test_what_remedis_embed_writes(tmp_path):
    from remedis_jax.evaluation.embedding_files import Embeddings, write_by_group

    table = pd.DataFrame({"image": [f"{i}.png" for i in range(5)], "row": range(2, 7)})
    embeddings = Embeddings(FEATURES.astype(np.float32), table, {"weights": "x"}, COORDS)
    groups = np.array(["s1", "s2", "s1", "s2", "s2"])
    first, second = write_by_group(tmp_path / "out", embeddings, groups)
    bag = open_bag(first)
    assert bag.count == 2 and open_bag(second).count == 3
    np.testing.assert_array_equal(bag.features(), FEATURES[[0, 2]].astype(np.float32))


def test_features_stay_in_the_file(tmp_path):
    path = write(tmp_path / "a.h5")
    bag = open_bag(path)
    write(path, FEATURES * 2)
    np.testing.assert_array_equal(bag.features(), (FEATURES * 2).astype(np.float32))
    write(path, FEATURES[:4], COORDS[:4])
    with pytest.raises(UserError, match="a.h5: has changed since it was opened"):
        bag.features()


@pytest.mark.parametrize(
    ("features", "coords", "problem"),
    [
        (FEATURES[0], COORDS, r"'features' is of shape \[3\], not \[tiles, width\]"),
        (FEATURES[:0], COORDS[:0], r"of shape \[0, 3\]"),
        (FEATURES, COORDS[:4], r"'coords' is of shape \[4, 2\] beside 5 features"),
        (FEATURES, COORDS[:, :1], r"'coords' is of shape \[5, 1\]"),
        (COORDS, COORDS, "'features' holds int64, not numbers as expected"),
        (np.array([b"x"], "S1"), COORDS, "'features' holds .S1"),
    ],
)
def test_other_layouts_are_refused(tmp_path, features, coords, problem):
    with pytest.raises(UserError, match=problem):
        open_bag(write(tmp_path / "a.h5", features, coords))


def test_values_that_are_not_finite(tmp_path):
    features = FEATURES.copy()
    features[2, 1] = np.nan
    with pytest.raises(UserError, match="a.h5: 'features' has values that are not finite"):
        open_bag(write(tmp_path / "a.h5", features)).features()


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match="a.h5: there is no such file"):
        open_bag(tmp_path / "a.h5")
    (tmp_path / "a.h5").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match="a.h5: is damaged, or no HDF5 file"):
        open_bag(tmp_path / "a.h5")
    with pytest.raises(UserError, match="has neither 'features' nor 'feats'"):
        open_bag(write(tmp_path / "b.h5", name="other"))


def test_pickles_are_refused_unread(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(pickle.dumps(FEATURES))
    with pytest.raises(UserError, match="a.pt: is a pickle, which can run code"):
        open_bag(path)


def test_links_into_other_files_are_refused(tmp_path):
    write(tmp_path / "secret.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = h5py.ExternalLink("secret.h5", "features")
    with pytest.raises(UserError, match="'features' leads into another file"):
        open_bag(tmp_path / "a.h5")
    layout = h5py.VirtualLayout((5, 3), np.float16)
    layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "features", (5, 3))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_virtual_dataset("features", layout)
    with pytest.raises(UserError, match="'features' is no array of this file"):
        open_bag(tmp_path / "b.h5")


def test_without_h5py(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"need h5py.*remedis_jax\[h5\]"):
        open_bag(path)


def test_bags_by_slide(tmp_path):
    for i, name in enumerate("ab"):
        write(tmp_path / f"h5/{name}.h5", FEATURES[: 2 + i], COORDS[: 2 + i])
    path = tmp_path / "m.csv"
    path.write_text("image,patient,msi\nh5/b.h5,002,1\nh5/a.h5,001,0\n")
    manifest = read_manifest(path, Columns(group="patient", labels=("msi",)))
    bags = list(slide_bags(manifest))
    assert [(b.row, b.name, b.group, b.labels, b.bag.count) for b in bags] == [
        (2, "h5/b.h5", "002", ("1",), 3),
        (3, "h5/a.h5", "001", ("0",), 2),
    ]
    write(tmp_path / "h5/a.h5", FEATURES[:, :2])
    with pytest.raises(UserError, match="row 3 .h5/a.h5.: features are 2 wide, those of row 2 3"):
        list(slide_bags(manifest))
    (tmp_path / "h5/b.h5").write_bytes(b"x")
    with pytest.raises(UserError, match="row 2: .*b.h5: is damaged"):
        list(slide_bags(manifest))


def test_a_folder_of_features(tmp_path):
    write(tmp_path / "sub/b.h5")
    write(tmp_path / "a.h5")
    manifest = open_manifest(tmp_path, Columns(group="slide"))
    assert manifest.images == ["a.h5", "sub/b.h5"] and manifest.groups.tolist() == ["a", "b"]
    assert [bag.name for bag in slide_bags(manifest)] == manifest.images
    (tmp_path / "1.png").write_bytes(b"x")
    with pytest.raises(UserError, match="holds HDF5 files .a.h5. and others .1.png"):
        open_manifest(tmp_path, Columns())
