"""What stands in an experiment's `experiment.json` and `rows.csv`, read and checked."""

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from remedis_jax.data.messages import did_you_mean
from remedis_jax.errors import UserError
from remedis_jax.evaluation.metrics import check_metric

_TYPES: dict[str, type | tuple[type, ...]] = {
    "title": str,
    "metric": str,
    "arms": dict,
    "baseline_arm": str,
    "ssl_arms": list,
    "fractions": list,
    "seeds": list,
    "id_site": str,
    "ood_site": str,
    "counts": dict,
    "command": str,
    "versions": dict,
    "notes": list,
}
# What records of other makers may lack, and what then stands in its place.
_MAY_LACK: dict[str, Any] = {
    "task": "",
    "arm_order": [],
    "level": "image",
    "margin": 0.0,
    "minutes_per_label": None,
    "minutes_source": "",
    "label_unit": "patient",
    "selection": {},
    "flow": [],
    "characteristics": [],
    "manifests": {},
    "images": "",
    "hardware": {},
    "hours": None,
    "config": {},
}


def read_experiment(experiment_dir: str | os.PathLike) -> dict[str, Any]:
    """Reads and checks `experiment.json`.

    Returns:
        Keys title, metric, arms {name: {label, stages}}, baseline_arm, ssl_arms, fractions, seeds,
        id_site, ood_site, counts {part: {patients, images}}, command, versions, notes; and, empty
        where the file lacks them, task, arm_order, level ('image' or 'group'), margin,
        minutes_per_label,
        minutes_source, label_unit, selection, flow, characteristics, manifests, images, hardware,
        hours and config; see `evaluation.data_efficiency`.

    Raises:
        UserError: It is missing, no JSON, or a key is missing or of another type.
    """
    path = Path(experiment_dir) / "experiment.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}).", "Give the folder of a finished experiment."
        ) from error
    for key, kind in _TYPES.items():
        if not isinstance(record, dict) or not isinstance(record.get(key), kind):
            known = list(record) if isinstance(record, dict) else []
            raise UserError(
                f"{path}: {key!r} is missing or is no {kind.__name__}.{did_you_mean(key, known)}",
                "Write the experiment again.",
            )
    record = _MAY_LACK | record
    # JSON objects have no order that writers keep; tables and colours follow this one.
    order = {name: place for place, name in enumerate(record["arm_order"])}
    record["arms"] = dict(
        sorted(record["arms"].items(), key=lambda arm: order.get(arm[0], len(order)))
    )
    if record["level"] not in ("image", "group"):
        raise UserError(f"{path}: level is {record['level']!r}.", "Use 'image' or 'group'.")
    check_metric(record["metric"])
    named = [("baseline_arm", record["baseline_arm"])]
    for key, arm in [*named, *(("ssl_arms", arm) for arm in record["ssl_arms"])]:
        if arm not in record["arms"]:
            raise UserError(
                f"{path}: {key} {arm!r} is no arm.{did_you_mean(arm, record['arms'])}",
                f"The arms are {', '.join(record['arms'])}.",
            )
    return record


def read_rows(experiment_dir: str | os.PathLike) -> pd.DataFrame:
    """Reads `rows.csv`: part, image, group, site, split, labels and characteristics, text.

    Returns:
        The table; without rows where there is no such file.

    Raises:
        UserError: It cannot be read, or lacks a column.
    """
    path = Path(experiment_dir) / "rows.csv"
    if not path.is_file():
        return pd.DataFrame(columns=["part", "image", "group", "site", "split"], dtype=str)
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise UserError(f"{path} cannot be read ({error}).", "Run the experiment again.") from error
    for column in ("part", "image", "group"):
        if column not in rows:
            raise UserError(f"{path} has no column {column!r}.", "Run the experiment again.")
    return rows
