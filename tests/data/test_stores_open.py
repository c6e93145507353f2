"""Whatever is named is opened by the right reader, or refused in one line that helps."""

import pytest

from remedis_jax.data import Columns, ManifestSource, read_manifest
from remedis_jax.data.cache import write_cache
from remedis_jax.data.open_manifest import open_manifest
from remedis_jax.data.reading import Reading
from remedis_jax.errors import UserError


def test_tables_are_read_as_manifests(make_manifest):
    manifest = make_manifest(4)
    again = open_manifest(str(manifest.path), manifest.columns)
    assert again.table.equals(manifest.table) and again.sha256 == manifest.sha256
    parquet = manifest.path.with_suffix(".parquet")
    manifest.table.to_parquet(parquet, index=False)
    assert open_manifest(parquet, manifest.columns).groups.tolist() == ["000", "000", "001", "001"]


def test_outside_is_allowed_on_demand_only(make_manifest, tmp_path):
    make_manifest(2)
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub/m.csv"
    path.write_text("image,x\n../0.png,1\n")
    with pytest.raises(UserError, match="leads out of the manifest's folder"):
        open_manifest(path, Columns())
    assert len(open_manifest(path, Columns(), allow_outside=True)) == 1


def test_a_cache_folder(make_manifest, tmp_path):
    manifest = make_manifest(4)
    write_cache(manifest, tmp_path / "cache", size=8, reading=Reading())
    cached = open_manifest(tmp_path / "cache", manifest.columns)
    assert cached.table.equals(manifest.table)
    assert ManifestSource(cached, 8).digest == ManifestSource(manifest, 8).digest


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("manifes.csv", "there is no such file. Did you mean 'manifest.csv'"),
        ("manifest", "there is no such file or folder. Did you mean 'manifest.csv'"),
        ("no.parquet", "no.parquet: there is no such file"),
        ("0.png", "a manifest is a .csv or a .parquet file"),
        ("empty.parquet", "empty.parquet: the file is empty"),
    ],
)
def test_names_that_are_wrong(make_manifest, tmp_path, name, problem):
    make_manifest(1)
    (tmp_path / "empty.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=problem) as caught:
        open_manifest(tmp_path / name, Columns())
    assert "\n" not in str(caught.value)


def test_a_folder_has_one_kind_of_data(make_manifest, tmp_path):
    manifest = make_manifest(1)
    manifest.table.to_parquet(tmp_path / "m.parquet")
    with pytest.raises(UserError, match="holds Parquet files .m.parquet. and others .0.png"):
        open_manifest(tmp_path, Columns())


def test_the_same_images_by_folder_and_by_manifest(make_manifest):
    manifest = make_manifest(4)
    folder = open_manifest(manifest.path.parent, Columns())
    assert folder.images == manifest.images
    plain = read_manifest(manifest.path)
    assert ManifestSource(folder, 8).digest == ManifestSource(plain, 8).digest
