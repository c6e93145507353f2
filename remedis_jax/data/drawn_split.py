"""The split of a manifest: which part every image goes to, and what the parts hold."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from remedis_jax.data.binary_labels import binary_cells, is_binary_column
from remedis_jax.data.iterative_split import split_by_labels
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.data.splits import split_by_group
from remedis_jax.errors import UserError

# The parts of held-out sites are named after those of the others.
HELD_OUT = "ood_"
NO_LABEL = "(empty)"


@dataclasses.dataclass(frozen=True)
class Rules:
    """How a manifest is split.

    Attributes:
        fractions: Share of the groups by name of the part.
        stratify: Label columns that every part is to have alike; empty for none.
        site: Column of the site; "" for none.
        test_sites: Sites that are in no part of the others.
        ood_fractions: Share of the groups of these sites by part, without the leading 'ood_'.
        allow_absent: Accept parts that lack a label which others of the same sites have.
    """

    fractions: Mapping[str, float]
    stratify: tuple[str, ...] = ()
    site: str = ""
    test_sites: tuple[str, ...] = ()
    ood_fractions: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"test": 1.0})
    allow_absent: bool = False

    def __post_init__(self) -> None:
        if self.test_sites and not self.site:
            raise UserError("No column says which site an image is of.", "Name it with --site.")


def draw_split(manifest: Manifest, units: np.ndarray, rules: Rules, seed: int) -> np.ndarray:
    """Deals the images out.

    One label column: each value has its share in every part, see `data.splits.split_by_group`.
    Several: each positive finding and each class has, see `data.iterative_split`.

    Args:
        manifest: N images.
        units: What must not be torn: text [N], the groups, or several of them as one.
        rules: How.
        seed: Another seed gives another split.

    Returns:
        Name of each image's part, text [N].

    Raises:
        UserError: The fractions do not work out, a site does not exist, a unit is at a held-out
            site and elsewhere, or a part lacks a label.
    """
    held = _held_out(manifest, units, rules)
    part = np.full(len(manifest), "", object)
    pools = [("", rules.fractions, ~held)]
    if rules.test_sites:
        pools.append((HELD_OUT, rules.ood_fractions, held))
    for prefix, fractions, mask in pools:
        where = np.flatnonzero(mask)
        rows = manifest.select(where)
        for name, indices in _parts(rows, units[where], rules, fractions, seed).items():
            part[where[indices]] = prefix + name
        if not rules.allow_absent:
            _refuse_absent(rows, part[where], rules)
    return part


def label_masks(manifest: Manifest, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """What images are counted and stratified by.

    Args:
        manifest: N images.
        columns: Of findings (1, 0, -1 or empty), each of which is one label, or of class names,
            each of which is one.

    Returns:
        Name of the label -> whether an image has it, bool [N]. With several columns the names of
        classes have that of their column before them.
    """
    masks = {}
    for column in columns:
        cells = np.array([cell.strip() for cell in manifest.column(column)], object)
        if is_binary_column(cells):
            masks[column] = binary_cells(manifest, column) == 1
            continue
        for value in sorted(set(cells)):
            name = value or NO_LABEL
            masks[f"{column}={name}" if len(columns) > 1 else name] = cells == value
    return masks


def split_contents(
    manifest: Manifest, part: np.ndarray, rules: Rules
) -> dict[str, dict[str, Any]]:
    """What the parts hold.

    Returns:
        Part -> `groups`, `images`, `sites` (site -> images; without a site column empty) and
        `labels` (label -> `groups`, `images` that have it), plain JSON values. The parts are in
        the order of `rules`.
    """
    masks = label_masks(manifest, rules.stratify)
    groups = np.asarray(manifest.groups)
    sites = manifest.column(rules.site) if rules.site else None
    contents = {}
    for name in part_names(rules):
        inside = part == name
        contents[name] = {
            "groups": len(set(groups[inside])),
            "images": int(inside.sum()),
            "sites": {} if sites is None else dict(sorted(Counter(sites[inside]).items())),
            "labels": {
                label: {
                    "groups": len(set(groups[inside & mask])),
                    "images": int((inside & mask).sum()),
                }
                for label, mask in masks.items()
            },
        }
    return contents


def part_names(rules: Rules) -> list[str]:
    """All parts, those of held-out sites last."""
    held = [HELD_OUT + name for name in rules.ood_fractions] if rules.test_sites else []
    return [*rules.fractions, *held]


def absent_labels(contents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which labels some part has none of, one sentence each."""
    labels = next(iter(contents.values()))["labels"]
    lines = []
    for label in labels:
        without = [p for p, content in contents.items() if not content["labels"][label]["groups"]]
        if without:
            total = sum(content["labels"][label]["groups"] for content in contents.values())
            lines.append(
                f"label {label!r}, which {total:,} group(s) have, is not in"
                f" {', '.join(map(repr, without))}"
            )
    return lines


def _held_out(manifest: Manifest, units: np.ndarray, rules: Rules) -> np.ndarray:
    if not rules.test_sites:
        return np.zeros(len(manifest), bool)
    sites = manifest.column(rules.site)
    present = sorted(set(sites))
    for name in rules.test_sites:
        if name not in present:
            raise UserError(
                f"{manifest.path}: no row has {rules.site} = {name!r}."
                f"{did_you_mean(name, present)}",
                f"Column {rules.site!r} holds {first_few(present)}.",
            )
    held = np.isin(sites.astype(str), rules.test_sites)
    if held.all():
        raise UserError(
            f"{manifest.path}: every row is of the site(s) {', '.join(rules.test_sites)}.",
            "Hold out some of the sites and not all.",
        )
    both = sorted(set(units[held]) & set(units[~held]))
    if both:
        raise UserError(
            f"{manifest.path}: {len(both):,} group(s) have images, or copies of them, of a held-out"
            f" site and of others: {first_few(both)}.",
            "Leave their rows of one of the two out: they would be on both sides of the test.",
        )
    return held


def _parts(
    rows: Manifest, units: np.ndarray, rules: Rules, fractions: Mapping[str, float], seed: int
) -> dict[str, np.ndarray]:
    if len(rules.stratify) < 2:
        strata = None
        for column in rules.stratify:
            strata = _strata(rows, column)
        return split_by_group(units.tolist(), strata, fractions, seed)
    positive = np.stack(list(label_masks(rows, rules.stratify).values()), axis=1)
    return split_by_labels(units.tolist(), positive, fractions, seed)


def _strata(rows: Manifest, column: str) -> list[str]:
    """The cells of a class; of a finding 1 where it is there and else 0."""
    cells = [cell.strip() for cell in rows.column(column)]
    if is_binary_column(cells):
        return [str(int(value)) for value in binary_cells(rows, column) == 1]
    return cells


def _refuse_absent(rows: Manifest, part: np.ndarray, rules: Rules) -> None:
    names = list(dict.fromkeys(sorted(part)))
    absent = []
    for label, mask in label_masks(rows, rules.stratify).items():
        without = [name for name in names if not mask[part == name].any()]
        if without and mask.any():
            groups = len(set(rows.groups[mask]))
            absent.append(f"{label!r} ({groups:,} group(s)) is not in {', '.join(without)}")
    if absent:
        raise UserError(
            f"{rows.path}: not every part has every label: {first_few(absent, '; ')}.",
            "Enlarge these parts, leave the label out of --stratify, or pass --allow-absent.",
        )
