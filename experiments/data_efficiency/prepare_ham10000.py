"""Splits HAM10000 by lesion, writes the manifests and runs the dermoscopy experiment.

    python -m experiments.data_efficiency.prepare_ham10000 --data FOLDER --out runs/ham10000

FOLDER holds `ham10000/manifest.csv` (image, lesion_id, malignant, site) and `cifar10/manifest.csv`
(image, label, split).
"""

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from remedis_jax import api
from remedis_jax.cli.console import Announcer, disk_errors
from remedis_jax.cli.main import run_and_exit
from remedis_jax.data import Columns, Manifest, read_manifest, split_by_group
from remedis_jax.training.compilation_cache import enable_compilation_cache

SPLITS = {"train": 0.5, "val": 0.15, "test": 0.35}
LABELLED_SITES = ("rosendahl", "vidir_modern")


def with_absolute_paths(manifest: Manifest) -> pd.DataFrame:
    return manifest.table.assign(image=[str(path) for path in manifest.image_paths])


def write_csv(table: pd.DataFrame, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    table.to_csv(temporary, index=False)
    os.replace(temporary, path)


def prepare(data: Path, out: Path) -> None:
    """Writes natural.csv, labelled.csv and pool.csv; the same input gives the same bytes."""
    out.mkdir(parents=True, exist_ok=True)
    cifar = read_manifest(data / "cifar10" / "manifest.csv", Columns(labels=("label",)))
    write_csv(with_absolute_paths(cifar), out / "natural.csv")

    columns = Columns(group="lesion_id", labels=("malignant",), site="site")
    ham = read_manifest(data / "ham10000" / "manifest.csv", columns)
    table = with_absolute_paths(ham)
    # A lesion that both labelled sites photographed would be in training and test; so every
    # lesion gets one split, over both sites together.
    labelled = table[table.site.isin(LABELLED_SITES)].reset_index(drop=True)
    strata = (labelled.site + labelled.malignant).to_list()
    parts = split_by_group(labelled.lesion_id.to_list(), strata, SPLITS, seed=0)
    split = np.empty(len(labelled), object)
    for name, indices in parts.items():
        split[indices] = name
    labelled = labelled.assign(split=split)
    write_csv(labelled, out / "labelled.csv")

    held_out = set(labelled.lesion_id[labelled.split != "train"])
    pool = table[~table.lesion_id.isin(held_out)]
    write_csv(pool[["image", "lesion_id", "site"]], out / "pool.csv")


def main(
    data: Annotated[Path, typer.Option(help="Folder with ham10000/ and cifar10/.")],
    out: Annotated[Path, typer.Option(help="Folder of the experiment.")],
    tiny: Annotated[bool, typer.Option(help="A few steps only.")] = False,
) -> None:
    """Prepare the data, then run the experiment and its report."""
    enable_compilation_cache()
    with disk_errors():
        prepare(data, out / "data")
        config = f"experiments/data_efficiency/ham10000.py:data={out / 'data'}"
        api.run_experiment(
            f"{config},tiny" if tiny else config, out, announce=Announcer(), show=True
        )


if __name__ == "__main__":
    run_and_exit(lambda: typer.run(main))
