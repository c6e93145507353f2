"""The parts of an experiment's labelled data: which rows, who is in them, what was left out.

Six parts, training, validation and test rows of the first site and of the new one. What chooses
(validation) and what judges (test) must share no patient with each other or with training rows.
"""

import dataclasses
from collections.abc import Collection, Mapping
from itertools import combinations
from typing import Any

import pandas as pd
from ml_collections import ConfigDict

from remedis_jax.data.cases import cases_of
from remedis_jax.data.dataset import columns_of, manifest_of, without
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.errors import UserError

TRAINING, VALIDATION, TEST = "training", "validation", "test"


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Rows of the labelled manifest.

    Attributes:
        site: Name of the site as the report has it.
        role: "training", "validation" or "test".
        where: column=value filters that select the rows.
        data: The `data` section of the config that reads them.
    """

    site: str
    role: str
    where: Mapping[str, Any]
    data: ConfigDict

    @property
    def name(self) -> str:
        """'hospital_b test'."""
        return f"{self.site} {self.role}"

    def rows(self) -> Manifest:
        """Its rows; raises UserError where there are none."""
        manifest = manifest_of(self.data)
        return manifest.where(**self.where) if self.where else manifest


def parts_of(config: ConfigDict) -> list[Part]:
    """The labelled parts that an experiment names, in the order of the report."""
    tuned, new = config.finetune_id.data, config.finetune_ood.data
    named = [
        (config.id_site, TRAINING, tuned.train, tuned),
        (config.id_site, VALIDATION, tuned.validation, tuned),
        (config.id_site, TEST, config.id_test, tuned),
        (config.ood_site, TRAINING, new.train, new),
        (config.ood_site, VALIDATION, config.ood_validation, new),
        (config.ood_site, TEST, config.ood_test, new),
    ]
    return [
        Part(site, role, where.to_dict(), data)
        for site, role, where, data in named
        if where or role != VALIDATION
    ]


def require_disjoint(parts: Collection[Part], *, redact: bool = False) -> None:
    """Refuses parts of which two share a patient, or an image where no column names patients.

    Raises:
        UserError: Two do; leakage cannot be allowed here, since it would be of the protocol itself.
    """
    members = {part.name: set(part.rows().groups) for part in parts}
    for first, second in combinations(members, 2):
        shared = sorted(members[first] & members[second])
        if shared:
            named = "" if redact else f" ({first_few(shared)})"
            raise UserError(
                f"{first} and {second} share {len(shared):,} patient(s){named}.",
                "Give every patient one split over both sites, e.g. with `remedis split --by`.",
            )


def rows_table(parts: Collection[Part], characteristics: Collection[str]) -> pd.DataFrame:
    """One row per example of every part, for demographics and subgroups.

    Args:
        parts: The labelled parts.
        characteristics: Further columns of the manifest.

    Returns:
        Text columns part, image (the case where examples are cases, which have the characteristics
        of their first image), group, site, split, then the labels' columns and the characteristics,
        blank where the manifest has nothing.

    Raises:
        UserError: A characteristic is no column.
    """
    tables = []
    for part in parts:
        rows, columns = part.rows(), columns_of(part.data)
        known = list(rows.table.columns)
        for name in characteristics:
            if name not in known:
                raise UserError(
                    f"{rows.path} has no column {name!r}.{did_you_mean(name, known)}",
                    f"Name columns of it in the experiment's characteristics: {first_few(known)}.",
                )
        names, cases = rows.images, cases_of(part.data, rows)
        if cases is not None:
            names, rows = list(cases.names), rows.select(cases.first_image)
        table = pd.DataFrame({"part": part.name, "image": names, "group": rows.groups})
        for role, column in (("site", columns.site), ("split", columns.split)):
            table[role] = rows.column(column) if column else ""
        for column in dict.fromkeys((*columns.labels, *characteristics)):
            table[column] = rows.column(column)
        tables.append(table.astype(str))
    return pd.concat(tables, ignore_index=True)


def flow_of(parts: Collection[Part], skip: Collection[str]) -> list[dict[str, Any]]:
    """What became of the rows of each part, and of rows of its manifest that are in none.

    Args:
        parts: The labelled parts.
        skip: Names of images that cannot be used.
    """
    flow = [flow_record(part.name, part.rows(), skip) for part in parts]
    manifest, used = manifest_of(parts[0].data), sum(record["rows"] for record in flow)
    if len(manifest) > used:
        flow.append(
            {
                "part": "in no part",
                "manifest": str(manifest.path),
                "rows": len(manifest) - used,
                "excluded": {"other sites or splits": len(manifest) - used},
                "images": 0,
                "patients": 0,
            }
        )
    return flow


def flow_record(name: str, rows: Manifest, skip: Collection[str]) -> dict[str, Any]:
    """What became of rows: used, or left out with the reason.

    Args:
        name: What they are called.
        rows: All of them.
        skip: Names of images that cannot be used.
    """
    used = without(rows, skip)
    left_out = len(rows) - len(used)
    return {
        "part": name,
        "manifest": str(rows.path),
        "rows": len(rows),
        "excluded": {"image cannot be used": left_out} if left_out else {},
        "images": len(used),
        "patients": len(set(used.groups)),
    }
