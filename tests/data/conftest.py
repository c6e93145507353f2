"""A small cohort of images on disk, made anew for each test."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from remedis_jax.data import Columns, Manifest, read_manifest


@pytest.fixture
def make_manifest(tmp_path: Path):
    """Writes n distinct PNG images and their manifest; two images per patient."""

    def make(n: int) -> Manifest:
        lines = ["image,patient,malignant"]
        for i in range(n):
            pixels = np.random.default_rng(i).integers(0, 256, (9, 11, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{i}.png")
            lines.append(f"{i}.png,{i // 2:03d},{i % 2}")
        path = tmp_path / "manifest.csv"
        path.write_text("\n".join(lines) + "\n")
        return read_manifest(path, Columns(group="patient", labels=("malignant",)))

    return make
