"""The command line as the user meets it, and a hospital's folder for it to work on."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.cli.conftest import refused, remedis  # noqa: F401

NETWORK = "model=r14x0.25,stem=cifar_stride2,size=32,tiny"
SIMCLR = f"experiments/contrastive/simclr.py:{NETWORK}"
FINETUNE = f"experiments/finetune/classify.py:{NETWORK}"
SMALL = ("--set", "batch_size=8", "--set", "devices=1", "--set", "total_steps=2",
         "--set", "monitor.images=0" )  # fmt: skip


def picture(seed: int, size: int = 64, channels: int = 3) -> np.ndarray:
    """uint8 [size, size, channels] with structure at several scales."""
    rng = np.random.default_rng(seed)
    layers = [
        Image.fromarray(rng.normal(size=(n, n)).astype(np.float32)).resize(
            (size, size), Image.Resampling.BICUBIC
        )
        for n in (3, 7, 16)
    ]
    mixed = sum(weight * np.asarray(layer) for weight, layer in zip((1, 0.7, 0.5), layers))
    grey = np.clip(128 + 40 * mixed, 0, 255).astype(np.uint8)
    return np.stack([np.roll(grey, 3 * c, 1) for c in range(channels)], axis=-1)


def as_jpeg(pixels: np.ndarray, quality: int = 80, side: int | None = None) -> bytes:
    image = Image.fromarray(pixels)
    if side is not None:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def write_hospital(folder, patients: int = 24, first: int = 0) -> pd.DataFrame:
    """A folder of PNGs, two a patient, and labels.csv; a third of the patients are of site B."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for i in range(2 * patients):
        name = f"images/{i:03d}.png"
        Image.fromarray(picture(first + i)).save(folder / name)
        patient = i // 2
        rows.append(
            {
                "path": name,
                "patient_id": f"{patient:03d}",
                "label": ("negative", "positive")[patient % 2],
                "site": "B" if patient % 3 == 2 else "A",
                "age": 30 + patient,
                "sex": "FM"[patient % 2],
            }
        )
    table = pd.DataFrame(rows)
    table.to_csv(folder / "labels.csv", index=False)
    return table


@pytest.fixture
def hospital(tmp_path):
    """(folder, table) that a test may spoil."""
    folder = tmp_path / "hospital"
    return folder, write_hospital(folder)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A hospital whose patients are split, and weights that were fine-tuned on its training part.

    (folder, manifest, self-supervised run, fine-tuned run)
    """
    import remedis_jax

    base = tmp_path_factory.mktemp("trained")
    folder = base / "hospital"
    table = write_hospital(folder)
    number = table["patient_id"].astype(int)
    table["split"] = np.select([number < 14, number < 18], ["train", "val"], "test")
    table.to_csv(folder / "split.csv", index=False)
    common = (
        f"data.manifest={folder / 'split.csv'}", "data.image=path", "data.group=patient_id",
        "data.split=split", "data.train={'split': 'train'}", "batch_size=8", "devices=1",
        "total_steps=2",
    )  # fmt: skip
    remedis_jax.train(SIMCLR, base / "ssl", overrides=(*common, "monitor.images=0"))
    remedis_jax.train(
        FINETUNE, base / "tuned",
        overrides=(*common, f"init={base / 'ssl'}", "data.labels=('label',)", "data.site=site",
                   "data.validation={'split': 'val'}"),
    )  # fmt: skip
    return folder, folder / "split.csv", base / "ssl", base / "tuned"
