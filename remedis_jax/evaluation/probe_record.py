"""A run of probes written down as an experiment: `experiment.json`, `cells.jsonl`, `rows.csv`."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from remedis_jax.data.dataset import file_sha256
from remedis_jax.data.messages import did_you_mean
from remedis_jax.errors import UserError
from remedis_jax.evaluation.column_roles import folded
from remedis_jax.evaluation.probe import FEW_SHOT, GRIDS, KNN, LINEAR, NAMES, TITLES
from remedis_jax.evaluation.probe_data import TEST, VALIDATION, ProbeData, part_name
from remedis_jax.evaluation.probe_protocol import FULL, SHARE, Fit
from remedis_jax.evaluation.probe_run import Probing
from remedis_jax.hardware import hardware
from remedis_jax.training.workdir import write_json
from remedis_jax.versions import versions

# Taken where the manifest has them and the user names none: what every Table 1 has. Ours.
_USUAL = ("age", "sex", "gender")
MARGIN = 0.01  # as in experiments/data_efficiency


def characteristics_of(data: ProbeData, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The columns of characteristics: those that are named, else age and sex where there are such.

    Raises:
        UserError: A named one is no column.
    """
    known = list(data.manifest.table.columns)
    if wanted is None:
        return tuple(name for name in known if folded(name) in _USUAL)
    for name in wanted:
        if name not in known:
            raise UserError(
                f"{data.manifest.path} has no column {name!r}.{did_you_mean(name, known)}",
                "Name columns of the manifest as characteristics.",
            )
    return tuple(wanted)


def write_rows(path: Path, data: ProbeData, characteristics: Sequence[str]) -> None:
    """Writes part, image, group, site, split, the labels and the characteristics of every row."""
    manifest, columns = data.manifest, data.manifest.columns
    tables = []
    for part in data.parts:
        rows = manifest.select(data.rows(part))
        table = pd.DataFrame({"part": part, "image": rows.images, "group": rows.groups})
        table["site"] = rows.column(columns.site) if columns.site else ""
        table["split"] = rows.column(columns.split)
        for name in dict.fromkeys((*columns.labels, *characteristics)):
            table[name] = rows.column(name)
        tables.append(table.astype(str))
    pd.concat(tables).to_csv(path, index=False, lineterminator="\n")


def probe_record(
    probing: Probing,
    encoders: Mapping[str, Path],
    *,
    hours: float,
    config: Mapping[str, Any],
    command: str,
) -> dict[str, Any]:
    """What `probe.json` says.

    Args:
        probing: After `run`.
        encoders: Name -> file of embeddings, as named by the user.
        hours: Of the run.
        config: What was asked for, as JSON values.
        command: That does it again.
    """
    data, protocol = probing.data, probing.protocol
    files = [data.manifest.path, *encoders.values()]
    return {
        "encoders": [{"name": name, "file": path.name} for name, path in encoders.items()],
        "task": ", ".join(data.manifest.columns.labels),
        "metric": protocol.metric,
        "level": protocol.level,
        "fractions": list(probing.fractions),
        "seeds": list(protocol.seeds),
        "id_site": protocol.id_site,
        "ood_site": protocol.ood_site,
        "selection": selection_of(probing),
        "flow": data.flow,
        "manifests": {str(path): file_sha256(Path(path)) for path in files},
        "hardware": hardware(),
        "hours": hours,
        "config": dict(config),
        "command": command,
        "versions": versions(),
        "notes": [*data.read, *data.common, *probing.notes],
    }


def write_experiment(
    probing: Probing,
    record: Mapping[str, Any],
    *,
    characteristics: Sequence[str],
    margin: float,
    minutes_per_label: float | None,
    minutes_source: str,
) -> None:
    """Writes the folder that the data-efficiency report is made of, beside `write_rows`.

    Args:
        probing: After `run`, with two sites; the first encoder is the baseline.
        record: From `probe_record`.
        characteristics: Columns of the manifest.
        margin: As in `label_saving`.
        minutes_per_label, minutes_source: What a label costs, and who says so.
    """
    data, protocol, out = probing.data, probing.protocol, probing.out
    cells = [cell for fit in probing.fits for cell in _cells_of(fit, probing)]
    (out / "cells.jsonl").write_text(
        "".join(json.dumps(cell) + "\n" for cell in cells), encoding="utf-8"
    )
    for encoder in probing.encoders:
        _write_embeddings(out / "embeddings" / f"{encoder}.npz", data, encoder, protocol.sites)
    first, *others = probing.encoders
    together = "" if protocol.new_site_only else f"all training rows of {protocol.id_site} and "
    notes = [
        "The encoders were trained elsewhere: whether they have seen these patients or images is"
        " not known here.",
        "A probe draws nothing but its labels: in distribution, zero-shot and with all labels the"
        " seeds are equal, and their spread says nothing.",
        f"At the new site the probes are trained on {together}the share of {protocol.ood_site}'s"
        " labels, features standardised anew; the setting stays the one that was chosen before.",
    ]
    own = {key: value for key, value in record.items() if key not in ("encoders", "notes")}
    write_json(
        out / "experiment.json",
        own
        | {
            "title": f"{TITLES[protocol.probe]}: {protocol.id_site} to {protocol.ood_site}",
            "arms": {
                encoder["name"]: {
                    "label": encoder["name"],
                    "stages": [f"features of {encoder['file']}, frozen", NAMES[protocol.probe]],
                }
                for encoder in record["encoders"]
            },
            "arm_order": [encoder["name"] for encoder in record["encoders"]],
            "baseline_arm": first,
            "ssl_arms": others,
            "margin": margin,
            "minutes_per_label": minutes_per_label,
            "minutes_source": minutes_source,
            "counts": {
                flow["part"]: {"patients": flow["patients"], "images": flow["images"]}
                for flow in data.flow
            },
            "characteristics": list(characteristics),
            "images": image_folder(data),
            "notes": [*notes, *record["notes"]],
        },
    )  # fmt: skip


def _cells_of(fit: Fit, probing: Probing) -> list[dict[str, Any]]:
    """The cells that a fit stands for; one that draws nothing stands for every seed."""
    protocol = probing.protocol
    if fit.probe != protocol.probe or fit.trained_on not in (FULL, SHARE):
        return []
    zero_shot = fit.test == part_name(protocol.ood_site, TEST)
    stage = "ood_finetuned" if fit.trained_on == SHARE else "ood_zero_shot" if zero_shot else "id"
    unseen = stage == "ood_zero_shot"
    cell = {
        "arm": fit.encoder,
        "fraction": {"id": None, "ood_zero_shot": 0.0, "ood_finetuned": fit.amount}[stage],
        "stage": stage,
        "predictions": fit.predictions,
        "validation": fit.validation,
        "n_patients": 0 if unseen else fit.n_patients,
        "n_images": 0 if unseen else fit.n_images,
        "train_seconds": fit.seconds,
    }
    seeds = (fit.seed,) if fit.trained_on == SHARE else protocol.seeds
    return [cell | {"seed": seed} for seed in seeds]


def _write_embeddings(path: Path, data: ProbeData, encoder: str, sites: Sequence[str]) -> None:
    """Features of the test rows, for the report's map."""
    rows = np.concatenate([data.rows(part_name(site, TEST)) for site in sites])
    chosen, columns = data.manifest.select(rows), data.manifest.columns
    labels = zip(*(chosen.column(name) for name in columns.labels), strict=True)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            features=data.features[encoder][rows],
            images=np.array(chosen.images, str),
            groups=np.array(chosen.groups, str),
            labels=np.array(["+".join(cells) for cells in labels], str),
            sites=np.array(chosen.column(columns.site), str),
        )
    os.replace(temporary, path)


def image_folder(data: ProbeData) -> str:
    """The manifest's folder where the images are there, for the gallery of failures; else ''."""
    there = all(Path(path).is_file() for path in data.manifest.image_paths)
    return str(data.manifest.path.parent) if there else ""


def selection_of(probing: Probing) -> dict[str, str]:
    """What chose what, in sentences."""
    protocol, data = probing.protocol, probing.data
    of_site = f" of {protocol.id_site}" if protocol.id_site else ""
    validation = len(data.rows(part_name(protocol.id_site, VALIDATION)))
    by = f"the validation patients{of_site}"
    if not validation:
        by = f"cross-validation by patient within the training rows{of_site}"
    chosen = ", ".join(
        f"{encoder} {'C' if probe == LINEAR else 'k'} = {setting:g}"
        for (encoder, probe), setting in probing.settings.items()
    )
    grids = f"C among {_listed(GRIDS[LINEAR])}, k among {_listed(GRIDS[KNN])}"
    unit = "patients" if protocol.level == "group" else "images"
    fitted = by if validation else "nothing: there are no validation rows"
    if protocol.ood_site and part_name(protocol.ood_site, VALIDATION) in data.parts:
        fitted += (
            f"; after training on a share of {protocol.ood_site}'s labels, the same share of its"
            " own validation patients"
        )
    return {
        "checkpoint": "nothing: the encoders are frozen and taken as they are",
        "hyperparameters": f"{grids}, by {protocol.metric} of {unit}, ties by log loss, on {by}:"
        f" {chosen}; few-shot"
        f" probes have C = {FEW_SHOT[LINEAR]:g} and k = {FEW_SHOT[KNN]}",
        "operating_point": fitted,
        "temperature": fitted,
    }


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
