"""Manifests of public images for the configs of T1 and T3, in the small.

    python -m experiments.public.prepare --data FOLDER --out runs/real

FOLDER holds `cifar10/`, `ham10000/`, `cxr_guangzhou/` and `cxr_nih/`, each with its `manifest.csv`.
Writes `natural.csv` (CIFAR-10), `t1_pool.csv` and `t1_labelled.csv` (HAM10000), `t3_pool.csv` and
`t3_labelled.csv` (chest X-rays of Guangzhou and of the NIH). What is then run, and what came out,
stands in docs/reproduction.md.
"""

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from remedis_jax.cli.console import disk_errors
from remedis_jax.cli.main import run_and_exit
from remedis_jax.data import Columns, Manifest, read_manifest, split_by_group
from remedis_jax.data.dataset import file_sha256

SPLITS = {"train": 0.5, "val": 0.15, "test": 0.35}
LABELLED_SITES = ("rosendahl", "vidir_modern")


def with_absolute_paths(manifest: Manifest) -> pd.DataFrame:
    """The manifest's table with images that are found from any folder."""
    return manifest.table.assign(image=[str(path) for path in manifest.image_paths])


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Writes a manifest, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    table.to_csv(temporary, index=False)
    os.replace(temporary, path)


def split_of(groups: pd.Series, strata: pd.Series, shares: dict[str, float]) -> np.ndarray:
    """Name of the part of each row, text [N]; groups stay whole."""
    split = np.empty(len(groups), object)
    for name, rows in split_by_group(groups.to_list(), strata.to_list(), shares, seed=0).items():
        split[rows] = name
    return split


def prepare_natural(data: Path, out: Path) -> None:
    """CIFAR-10's training images."""
    natural = read_manifest(data / "cifar10" / "manifest.csv", Columns(labels=("label",)))
    # Its test images judge nothing here, and some of them look like training images.
    write_csv(with_absolute_paths(natural).query("split == 'train'"), out / "natural.csv")


def prepare_t1(data: Path, out: Path) -> None:
    """Diagnoses of lesions: two labelled sites, and a pool of the others and training lesions."""
    columns = Columns(group="lesion_id", labels=("dx",), site="site")
    table = with_absolute_paths(read_manifest(data / "ham10000" / "manifest.csv", columns))
    labelled = table[table.site.isin(LABELLED_SITES)].reset_index(drop=True)
    # Over both sites together: a lesion that both photographed gets one split.
    labelled["split"] = split_of(labelled.lesion_id, labelled.site + labelled.dx, SPLITS)
    write_csv(labelled, out / "t1_labelled.csv")
    held_out = set(labelled.lesion_id[labelled.split != "train"])
    pool = table[~table.lesion_id.isin(held_out)]
    write_csv(pool[["image", "lesion_id", "site"]], out / "t1_pool.csv")


def prepare_t3(data: Path, out: Path) -> None:
    """Pneumonia: Guangzhou with its own splits, NIH by patient; the pool is Guangzhou's training.

    Guangzhou names no patients, so each of its images counts as one.
    """
    guangzhou = read_manifest(data / "cxr_guangzhou" / "manifest.csv", Columns(split="split"))
    first = with_absolute_paths(guangzhou)
    first["patient_id"] = [f"guangzhou {name}" for name in guangzhou.images]
    # Some training images are, byte for byte, validation or test images: one child, surely.
    content = np.array([file_sha256(path) for path in guangzhou.image_paths])
    training = (first.split == "train").to_numpy()
    copies = training & np.isin(content, content[~training])
    print(f"{copies.sum()} training images of Guangzhou are in its other splits and left out")
    first = first[~copies]
    nih = read_manifest(data / "cxr_nih" / "manifest.csv", Columns(group="patient_id"))
    second = with_absolute_paths(nih).reset_index(drop=True)
    second["split"] = split_of(second.patient_id, second.pneumonia, SPLITS)
    second["patient_id"] = "nih " + second.patient_id
    names = ["image", "patient_id", "pneumonia", "site", "split"]
    write_csv(pd.concat([first.reset_index(drop=True)[names], second[names]]),
              out / "t3_labelled.csv")  # fmt: skip
    pool = first[first.split == "train"]
    write_csv(pool[["image", "patient_id", "site"]], out / "t3_pool.csv")


def main(
    data: Annotated[Path, typer.Option(help="Folder with the four sets.")],
    out: Annotated[Path, typer.Option(help="Folder for the manifests.")],
) -> None:
    """Write the manifests; the same images give the same bytes."""
    with disk_errors():
        out.mkdir(parents=True, exist_ok=True)
        prepare_natural(data, out)
        prepare_t1(data, out)
        prepare_t3(data, out)


if __name__ == "__main__":
    run_and_exit(lambda: typer.run(main))
