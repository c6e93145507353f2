"""Tiles of whole slides by coordinates: levels, scale, edges, tiling tools' files, wrong tables."""

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from remedis_jax.data import Columns, ManifestSource
from remedis_jax.data.open_manifest import open_manifest
from remedis_jax.data.slide_store import KEPT_OPEN, Tile
from remedis_jax.data.slides import Slide, _on_white
from remedis_jax.errors import UserError

COLUMNS = Columns(group="patient")
SLIDE = {"slide": "slide"}


def noise(height=300, width=420, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_slide(path, pixels, mpp=0.5):
    """A pyramid of three levels; coarser ones are every second and fourth pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as file:
        for i, step in enumerate((1, 2, 4)):
            scale = {"resolutionunit": "CENTIMETER"} if mpp else {}
            scale |= {"resolution": (1e4 / mpp / step,) * 2} if mpp else {}
            file.write(
                pixels[::step, ::step], tile=(64, 64), photometric="rgb", metadata=None,
                subfiletype=int(i > 0), **scale,
            )  # fmt: skip


@pytest.fixture
def table(tmp_path):
    """Two slides, and a way to write a table beside them."""
    write_slide(tmp_path / "s/a.tif", noise())
    write_slide(tmp_path / "s/b.tif", noise(seed=1))

    def write(text):
        (tmp_path / "tiles.csv").write_text(text)
        return tmp_path / "tiles.csv"

    return write


def test_tiles_of_level_0(table):
    path = table("slide,x,y,patient,label\ns/a.tif,64,32,007,1\ns/b.tif,0,0,008,0\n")
    manifest = open_manifest(path, COLUMNS, tiles={"size": 32})
    names = ["s/a.tif#x=64,y=32,size=32,level=0", "s/b.tif#x=0,y=0,size=32,level=0"]
    assert manifest.images == names and manifest.groups.tolist() == ["007", "008"]
    assert manifest.column("slide").tolist() == ["s/a.tif", "s/b.tif"]
    np.testing.assert_array_equal(manifest.store.read(names[0]), noise()[32:64, 64:96])
    pixels = ManifestSource(manifest, 32).gather(np.array([1, 0]))
    np.testing.assert_array_equal(pixels[0], noise(seed=1)[:32, :32])
    np.testing.assert_array_equal(pixels[1], noise()[32:64, 64:96])


def test_level_and_size_of_each_row(table):
    path = table("slide,x,y,patient,level,size\ns/a.tif,64,32,1,1,16\ns/a.tif,64,96,1,2,8\n")
    manifest = open_manifest(path, COLUMNS, tiles=SLIDE)
    first, second = map(manifest.store.read, manifest.images)
    np.testing.assert_array_equal(first, noise()[32:64:2, 64:96:2])
    np.testing.assert_array_equal(second, noise()[96:128:4, 64:96:4])
    # A setting counts more than a column.
    ours = open_manifest(path, COLUMNS, tiles={"mpp": 0.5, "size": 4})
    assert ours.images[0] == "s/a.tif#x=64,y=32,size=4,mpp=0.5"


def test_micrometres_per_pixel(table):
    path = table("slide,x,y,patient\ns/a.tif,0,0,1\n")
    same = open_manifest(path, COLUMNS, tiles={"size": 32, "mpp": 0.5})
    np.testing.assert_array_equal(same.store.read(same.images[0]), noise()[:32, :32])
    half = open_manifest(path, COLUMNS, tiles={"size": 32, "mpp": 1})
    np.testing.assert_array_equal(half.store.read(half.images[0]), noise()[:64:2, :64:2])
    between = open_manifest(path, COLUMNS, tiles={"size": 32, "mpp": "0.75"})
    assert between.images == ["s/a.tif#x=0,y=0,size=32,mpp=0.75"]
    want = Image.fromarray(noise()[:48, :48]).resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(between.store.read(between.images[0]), np.asarray(want))


def test_beyond_the_edge_is_white(table):
    path = table("slide,x,y,patient\ns/a.tif,400,290,1\n")
    manifest = open_manifest(path, COLUMNS, tiles={"size": 32})
    pixels = manifest.store.read(manifest.images[0])
    np.testing.assert_array_equal(pixels[:10, :20], noise()[290:, 400:])
    assert (pixels[10:] == 255).all() and (pixels[:, 20:] == 255).all()


def test_transparent_pixels_lie_on_white():
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = 255, 0, 51
    pixels[0, 2, 0] = 100
    assert _on_white(pixels).tolist() == [[[0, 0, 0], [255, 255, 255], [224, 204, 204]]]


def test_both_readers_give_the_same(tmp_path, monkeypatch):
    write_slide(tmp_path / "a.tif", noise())
    ours = Slide(tmp_path / "a.tif")
    monkeypatch.setitem(sys.modules, "tiffslide", None)
    other = Slide(tmp_path / "a.tif")
    assert type(ours._slide).__module__ != type(other._slide).__module__
    assert ours.facts == other.facts
    for place in ((64, 32, 0), (128, 64, 1), (400, 280, 0), (256, 128, 2)):
        got = [slide.region(*place, 40, 30) for slide in (ours, other)]
        np.testing.assert_array_equal(*got)


def test_threads_pickles_and_stamps(tmp_path):
    count = KEPT_OPEN + 3
    for i in range(count):
        write_slide(tmp_path / f"{i}.tif", noise(70, 80, seed=i))
    rows = "".join(f"{i}.tif,{x},0,{i}\n" for x in (0, 16) for i in range(count))
    (tmp_path / "t.csv").write_text("slide,x,y,patient\n" + rows)
    manifest = open_manifest(tmp_path / "t.csv", COLUMNS, tiles={"size": 16})
    store = pickle.loads(pickle.dumps(manifest.store))
    names = np.random.default_rng(0).permutation(np.tile(manifest.images, 5)).tolist()
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(store.read, names))
    for name, pixels in zip(names, found, strict=True):
        tile = Tile.from_name(name)
        want = noise(70, 80, seed=int(tile.slide[0]))[:16, tile.x : tile.x + 16]
        np.testing.assert_array_equal(pixels, want)
    store.read(names[0])
    assert len(store._local.slides) == 1 and pickle.loads(pickle.dumps(store)).bits == 8
    slide = tmp_path / "0.tif"
    name = manifest.images[0]
    assert store.size(name) == slide.stat().st_size and store.size("0.tif") == -1
    before = store.stamp(name)
    slide.touch()
    assert store.stamp(name) != before and store.stamp("9.tif#x=0,y=0,size=1,level=0") == "absent"


@pytest.mark.parametrize(
    ("rows", "tiles", "problem"),
    [
        ("s/a.tif,0,0,1\ns/a.tif,420,0,1", {}, "begins outside its slide.*row 3 .s/a.tif#x=420"),
        ("s/a.tif,0,0,1\ns/a.tif,0,0,2", {}, "tile is named again in 1 row.s.: row 3"),
        ("s/a.tif,-1,0,1", {}, "'x' is not a whole number from 0 on in 1 row.s.: row 2"),
        ("s/a.tif,0,0.5,1", {}, "'y' is not a whole number"),
        ("s/a.tif,0,,1", {}, "'y' is not a whole number"),
        ("s/a.tif,0,u,1", {}, "'y' is not a number in 1 row.s.: row 2"),
        ("s/c.tif,0,0,1", {}, "names a file that is missing in 1 row.s.: row 2 .s/c.tif"),
        ("../s/a.tif,0,0,1", {}, "leads out of the table's folder in .* row 2"),
        ("s\\\\a.tif,0,0,1", {}, "holds a Windows path in"),
        (",0,0,1", {}, "column 'slide' is empty in 1 row.s.: row 2"),
        ("s/a.tif,0,0,1", {"level": 3}, "is of a level that its slide does not have in 1 row"),
        ("s/a.tif,0,0,1", {"mpp": 0.25}, "fewer micrometres per pixel than its slide in 1 row"),
        ("s/a.tif,0,0,1", {"mpp": 0}, "'mpp' is not positive"),
        ("s/a.tif,0,0,1", {"mpp": 0.5, "level": 1}, "by level as well as by mpp"),
        ("s/a.tif,0,0,1", {"size": 0}, "size of a tile is not positive"),
        ("s/a.tif,0,0,1", {"sise": 8}, "no setting 'sise'. Did you mean 'size'"),
        ("s/a.tif,0,0,1", {"slide": "slides"}, "no column 'slides'. Did you mean 'slide'"),
        ("s/a.tif,0,0,1", {"level": "leve"}, "no column 'leve'"),
        ("s/a.tif,0,0,1", {"coords": "h5"}, "neither a column nor a folder"),
    ],
)
def test_wrong_tables_are_refused(table, rows, tiles, problem):
    path = table(f"slide,x,y,patient\n{rows}\n")
    with pytest.raises(UserError, match=problem) as caught:
        open_manifest(path, COLUMNS, tiles=SLIDE | tiles)
    assert "\n" not in str(caught.value)


def test_the_column_of_tiles_is_new(table):
    path = table("slide,x,y,patient\ns/a.tif,0,0,1\n")
    with pytest.raises(UserError, match="has a column 'slide', which is to hold"):
        open_manifest(path, Columns(image="slide"), tiles=SLIDE)
    with pytest.raises(UserError, match="data.tiles is for a table of slides"):
        open_manifest(path.parent, COLUMNS, tiles=SLIDE)
    with pytest.raises(UserError, match="nothing.csv: cannot be read"):
        open_manifest(path.parent / "nothing.csv", COLUMNS, tiles=SLIDE)


def test_a_slide_without_scale_or_that_is_none(table, tmp_path):
    write_slide(tmp_path / "s/c.tif", noise(), mpp=None)
    path = table("slide,x,y,patient\ns/c.tif,0,0,1\n")
    with pytest.raises(UserError, match="its slide does not say its own in 1 row"):
        open_manifest(path, COLUMNS, tiles={"mpp": 0.5})
    store = open_manifest(path, COLUMNS, tiles={"size": 16}).store
    (tmp_path / "s/c.tif").write_bytes(b"<html>")
    with pytest.raises(UserError, match="row 2: .*c.tif: is no slide that can be read"):
        open_manifest(path, COLUMNS, tiles={"size": 16})
    with pytest.raises(UserError, match="c.tif: is no slide that can be read"):
        store.read("s/c.tif#x=0,y=0,size=16,level=0")
    (tmp_path / "s/c.tif").unlink()
    with pytest.raises(UserError, match="there is no such slide"):
        pickle.loads(pickle.dumps(store)).read("s/c.tif#x=0,y=0,size=16,level=0")


def test_a_truncated_slide_is_named_when_a_tile_is_read(table, tmp_path):
    path = tmp_path / "s/a.tif"
    data = bytearray(path.read_bytes())
    manifest = open_manifest(table("slide,x,y,patient\ns/a.tif,0,256,1\n"), COLUMNS, tiles=SLIDE)
    manifest.store.read(manifest.images[0])
    manifest = pickle.loads(pickle.dumps(manifest))
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="a.tif"):
        ManifestSource(manifest, 8).gather(np.array([0]))


def test_without_a_reader(table, monkeypatch):
    path = table("slide,x,y,patient\ns/a.tif,0,0,1\n")
    monkeypatch.setitem(sys.modules, "tiffslide", None)
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(UserError, match=r"needs tiffslide or openslide.*remedis_jax\[slides\]"):
        open_manifest(path, COLUMNS, tiles=SLIDE)


def write_places(path, coords, **attrs):
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file["coords"] = np.array(coords)
        file["coords"].attrs.update(attrs)


def test_places_from_trident_by_folder(table, tmp_path):
    attrs = {"patch_size": 16, "patch_size_level0": 32, "target_magnification": 20, "name": "a"}
    write_places(tmp_path / "patches/a_patches.h5", [[0, 0], [64, 32]], **attrs)
    write_places(tmp_path / "patches/b_patches.h5", [[128, 64]], **attrs)
    path = table("slide,patient\ns/a.tif,007\ns/b.tif,008\n")
    manifest = open_manifest(path, COLUMNS, tiles={"coords": "patches"})
    assert manifest.images[1] == "s/a.tif#x=64,y=32,size=16,span=32"
    assert manifest.groups.tolist() == ["007", "007", "008"]
    assert manifest.rows.tolist() == [2, 3, 4]
    got = manifest.store.read(manifest.images[1])
    np.testing.assert_array_equal(got, noise()[32:64:2, 64:96:2])
    (tmp_path / "patches/b_patches.h5").unlink()
    with pytest.raises(UserError, match="no coordinates in .*patches for 1 row.s.: row 3 .b.h5"):
        open_manifest(path, COLUMNS, tiles={"coords": "patches"})


def test_places_from_clam_by_column(table, tmp_path):
    write_places(tmp_path / "h5/a.h5", [[64, 32]], patch_size=16, patch_level=1)
    path = table("slide,patient,places\ns/a.tif,007,h5/a.h5\n")
    manifest = open_manifest(path, COLUMNS, tiles={"coords": "places"})
    assert manifest.images == ["s/a.tif#x=64,y=32,size=16,level=1"]
    np.testing.assert_array_equal(
        manifest.store.read(manifest.images[0]), noise()[32:64:2, 64:96:2]
    )
    for tiles, problem in (({"size": 16}, "says how large"), ({"x": "x"}, "as well as by x")):
        with pytest.raises(UserError, match=problem):
            open_manifest(path, COLUMNS, tiles={"coords": "places"} | tiles)


def test_places_of_files_that_do_not_say_the_size(table, tmp_path):
    write_places(tmp_path / "h5/a.h5", [[64, 32]])
    path = table("slide,patient\ns/a.tif,007\n")
    tiles = {"coords": "h5", "size": 8, "level": 0}
    manifest = open_manifest(path, COLUMNS, tiles=tiles)
    np.testing.assert_array_equal(manifest.store.read(manifest.images[0]), noise()[32:40, 64:72])
    with pytest.raises(UserError, match="row 2: .*a.h5 does not say how large"):
        open_manifest(path, COLUMNS, tiles={"coords": "h5"})
    write_places(tmp_path / "h5/a.h5", [[0.5, 0]])
    with pytest.raises(UserError, match="row 2: .*a.h5: 'coords' are not pixels of level 0"):
        open_manifest(path, COLUMNS, tiles=tiles)
    write_places(tmp_path / "h5/a.h5", [0, 1])
    with pytest.raises(UserError, match="a.h5: 'coords' is of shape .2., not .tiles, 2."):
        open_manifest(path, COLUMNS, tiles=tiles)
