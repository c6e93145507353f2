"""Fake copies of the data sets, laid out as they are released, with a few tiny images each."""

import gzip

import numpy as np
import pytest
from PIL import Image

from remedis_jax.data.tfds_sets.prepare import prepare


class Tree:
    """A folder to lay out.

    Args:
        folder: Where.
    """

    def __init__(self, folder):
        self.folder = folder
        self._images = 0

    def table(self, name, text, *, bom=False):
        """Writes a table; compressed where its name ends in .gz."""
        data = text.encode("utf-8-sig" if bom else "utf-8")
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)

    def image(self, name, mode="RGB", size=(8, 8)):
        """Writes an image of a grey of its own."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._images += 1
        channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
        pixels = np.full((*size[::-1], channels), 9 * self._images, np.uint8)
        pixels[..., 3:] = 255
        Image.fromarray(pixels.squeeze(), mode).save(path)

    def images(self, pattern, names, mode="RGB", size=(8, 8)):
        """Writes several images."""
        for name in names:
            self.image(pattern.format(name), mode, size)

    def remove(self, name):
        (self.folder / name).unlink()

    def edit(self, name, old, new):
        """Replaces text that is in a table exactly once."""
        path = self.folder / name
        packed = name.endswith(".gz")
        text = (gzip.decompress(path.read_bytes()) if packed else path.read_bytes()).decode()
        assert text.count(old) == 1
        self.table(name, text.replace(old, new))

    def read(self, name):
        return (self.folder / name).read_bytes()


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "manual")


@pytest.fixture
def build(tree, tmp_path):
    """Builds a data set from the tree, without TensorFlow, and reads it back.

    Returns the examples of each split by key feature, classes by their names and text as str.
    """

    def built(name, key, image="image", data="data"):
        builder = prepare(name, tree.folder, tmp_path / data)
        return {split: _read(builder, split, key, image) for split in builder.info.splits}

    return built


def _read(builder, split, key, image):
    import tensorflow_datasets as tfds

    decoders = {image: tfds.decode.SkipDecoding()} if image else None
    features = builder.info.features
    found = {}
    for example in builder.as_data_source(split, decoders=decoders):
        for name, value in example.items():
            if isinstance(features[name], tfds.features.ClassLabel):
                example[name] = features[name].int2str(value)
            elif isinstance(features[name], tfds.features.Text):
                example[name] = value.decode()
        assert example[key] not in found
        found[example[key]] = example
    return found
