"""`remedis cache`, as the user meets it."""

import numpy as np
import pytest
from PIL import Image

from remedis_jax.data import Columns, ManifestSource
from remedis_jax.data.cache_store import open_cache
from remedis_jax.data.manifest import read_manifest
from remedis_jax.data.reading import Reading


@pytest.fixture
def manifest(tmp_path):
    lines = ["file,patient,site"]
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        lines.append(f'{i}.png,{i // 2:03d},"north, old"')
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_writes_what_training_would_read(remedis, manifest, tmp_path):
    out = tmp_path / "cache"
    done = remedis(
        "cache", manifest, "--out", out, "--size", 16, "--image", "file", "--fit", "crop",
        "--threads", 2, "--no-reduced",
    )  # fmt: skip
    assert done.code == 0, done
    assert f"--set data.manifest={out} --set data.size=16 --set data.image=file" in done.out
    assert done.out.rstrip().endswith("--set data.fit=crop --set data.reduced=False")
    assert "6 images of 16 x 16 x 3, 8 bits: at most 0.0 GiB" in done.err
    columns = Columns(image="file", group="patient", site="site")
    cached, original = open_cache(out, columns), read_manifest(manifest, columns)
    assert cached.table.equals(original.table)
    reading = Reading(reduced=False)
    sources = [ManifestSource(m, 16, reading, "crop") for m in (original, cached)]
    assert sources[0].digest == sources[1].digest
    np.testing.assert_array_equal(*(source.gather(np.arange(6)) for source in sources))
    # Again: nothing to do.
    assert remedis(
        "cache", manifest, "--out", out, "--size", 16, "--image", "file", "--fit", "crop",
        "--no-reduced",
    ).code == 0  # fmt: skip


def test_mistakes_are_one_line(refused, manifest, tmp_path):
    out = tmp_path / "cache"
    assert "no column 'image'" in refused("cache", manifest, "--out", out)
    assert "--shard-mib 0" in refused("cache", manifest, "--out", out, "--shard-mib", 0)
    assert "window is 'lung'" in refused(
        "cache", manifest, "--out", out, "--image", "file", "--window", "lung"
    )
    assert "size=0" in refused("cache", manifest, "--out", out, "--image", "file", "--size", 0)
    assert not out.exists()
    (tmp_path / "3.png").write_bytes(b"")
    line = refused("cache", manifest, "--out", out, "--image", "file", "--size", 16)
    assert "row 5 (3.png): the file is empty" in line
    assert "is not empty and holds no cache" in refused(
        "cache", manifest, "--out", tmp_path, "--image", "file"
    )
