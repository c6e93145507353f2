"""What probes are trained and judged on: the manifest's parts, and each encoder's features of them.

Rows are matched to embeddings by the name of the image. What is on one side only is an error that
counts and names it, or, where the user says so, is left out and counted.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from remedis_jax.data.label_policy import LabelPolicy, Treatment
from remedis_jax.data.labels import UNKNOWN, LabelSpec, encode_labels, infer_label_spec
from remedis_jax.data.manifest import Columns, Manifest, read_manifest
from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.data.splits import assert_disjoint_groups
from remedis_jax.errors import UserError
from remedis_jax.evaluation.column_roles import (
    GROUP,
    IMAGE,
    LABEL,
    SITE,
    SPLIT,
    find_column,
    find_image_and_group,
    folded,
    require_column,
)
from remedis_jax.evaluation.foreign_embeddings import NamedFeatures, read_features
from remedis_jax.evaluation.table_files import read_text_table

TRAINING, VALIDATION, TEST = "training", "validation", "test"
_ROLES = {
    TRAINING: ("train", "training"),
    VALIDATION: ("val", "valid", "validation", "dev", "tune"),
    TEST: ("test", "testing"),
}
MATCHES = ("path", "file", "stem")
_POLICY = LabelPolicy(Treatment(uncertain="ignore", blank="ignore"))
_CLASSES = LabelPolicy(Treatment(blank="ignore"))
NO_EMBEDDING, NO_LABEL = "no embedding", "no label"


@dataclasses.dataclass(frozen=True, eq=False)
class ProbeData:
    """Rows of a manifest with labels, parts and features.

    Attributes:
        manifest: N rows, those of the parts.
        spec: What the labels mean.
        labels: As `encode_labels` returns them for all N rows.
        features: Encoder -> float32 [N, F]; rows without an embedding are NaN.
        usable: bool [N], rows with an embedding of every encoder and, of classes, a label.
        parts: Name of the part -> positions of its rows, usable or not; '<site> training' and so
            on, or 'training', 'validation', 'test' where no sites are named.
        flow: What became of the rows of each part, as `experiment.json` holds it.
        read: Sentences on what was read from where.
        common: Sentences on what is on one side only and was left out.
    """

    manifest: Manifest
    spec: LabelSpec
    labels: np.ndarray
    features: Mapping[str, np.ndarray]
    usable: np.ndarray
    parts: Mapping[str, np.ndarray]
    flow: list[Mapping]
    read: tuple[str, ...]
    common: tuple[str, ...]

    def rows(self, part: str) -> np.ndarray:
        """Positions of the usable rows of a part; none where there is no such part."""
        found = self.labelled(part)
        return found[self.usable[found]]

    def labelled(self, part: str) -> np.ndarray:
        """The same with those that have a label and no embedding."""
        found = self.parts.get(part, np.array([], np.int64))
        return found if self.spec.kind == "sigmoid" else found[self.labels[found] != UNKNOWN]


def part_name(site: str, role: str) -> str:
    """'hospital_a test', or 'test' where there is one site."""
    return f"{site} {role}" if site else role


def open_probe_data(
    encoders: Mapping[str, Path],
    manifest: Path,
    *,
    columns: Mapping[str, str],
    sites: Sequence[str] = (),
    splits: Mapping[str, str] | None = None,
    match: str = "path",
    common: bool = False,
    redact: bool = False,
) -> ProbeData:
    """Reads the manifest and the embeddings, and fits them together.

    Args:
        encoders: Name -> file of embeddings, see `read_features`.
        manifest: CSV or Parquet with a row per image.
        columns: Role -> column, see `column_roles`; 'label' may be several, A,B,C, of findings.
        sites: The sites to use, in distribution and new; all rows together if none.
        splits: Value of the split column -> 'training', 'validation' or 'test', where it is none of
            the usual words.
        match: By what names are matched: the 'path' as it stands, the 'file' without its folders,
            or its 'stem' without the ending.
        common: Use the images that the manifest and all embeddings have.
        redact: Show hashes in place of patient ids in messages.

    Raises:
        UserError: A file cannot be read; columns, splits or sites are not clear; images are on one
            side only; a patient is in two splits; there is no training or test row.
    """
    table = read_text_table(manifest)
    where = str(manifest)
    labels = tuple(columns.get(LABEL, "").split(",")) if columns.get(LABEL) else ()
    given = {role: name for role, name in columns.items() if role not in (LABEL, "features")}
    image, group = find_image_and_group(table, where, given)
    taken = [image, group]
    for name in labels:
        require_column(table, name, where)
    if not labels:
        label = find_column(table, LABEL, where, {}, taken)
        if label is None:
            raise UserError(
                f"{where} has no column {LABEL!r} or of another name for the label.",
                "Name it with --label COLUMN, several findings with --label A,B.",
            )
        labels = (label,)
    site = find_column(table, SITE, where, given, [*taken, *labels])
    split = find_column(table, SPLIT, where, given, [*taken, *labels])
    if split is None:
        raise UserError(
            f"{where}: no column says which images train and which test.",
            "Draw a split with `remedis split`, or name the column: --column split=NAME.",
        )
    if sites and site is None:
        raise UserError(f"{where}: no column says the site.", "Name it: --column site=NAME.")
    rows = read_manifest(
        manifest, Columns(image, group, labels, site, split), allow_outside=True, check_files=False
    )
    if sites:
        rows = rows.where(**{site: list(dict.fromkeys(sites))})
    roles = _roles_of(rows, splits or {})
    spec = infer_label_spec(rows)
    encoded = encode_labels(
        rows, spec, _POLICY if spec.kind == "sigmoid" else _CLASSES, require_all_classes=False
    )
    by_role = {role: rows.groups[roles == role] for role in _ROLES if (roles == role).any()}
    assert_disjoint_groups(by_role, redact=redact)
    parts = {}
    for s in sites or ("",):
        at = rows.column(site) == s if s else np.ones(len(rows), bool)
        for role in _ROLES:
            found = np.flatnonzero((roles == role) & at)
            if len(found):
                parts[part_name(s, role)] = found
            elif role != VALIDATION:
                raise UserError(
                    f"{where} has no {role} rows{f' of {s}' if s else ''}.",
                    f"Column {split!r} holds {first_few(sorted(set(rows.column(split)[at])))}.",
                )
    features, missing, notes = {}, np.zeros(len(rows), bool), []
    roles_read = {
        IMAGE: image, GROUP: group, LABEL: ",".join(labels), SITE: site, SPLIT: split
    }  # fmt: skip
    read = [f"manifest: {_said(roles_read)}"]
    for name, path in encoders.items():
        found = read_features(path, {k: v for k, v in columns.items() if k == "features"})
        features[name], absent, note = _matched(name, rows, found, match, common)
        missing |= absent
        notes += note
        read.append(f"{name}: {_said(found.read)}")
    known = np.ones(len(rows), bool) if spec.kind == "sigmoid" else encoded != UNKNOWN
    usable = known & ~missing
    data = ProbeData(
        rows, spec, encoded, features, usable, parts, [], tuple(read), tuple(notes)
    )
    for part, found in parts.items():
        excluded = {NO_EMBEDDING: missing[found].sum(), NO_LABEL: (~known & ~missing)[found].sum()}
        if not len(data.rows(part)):
            raise UserError(f"{where}: no {part} row has an embedding and a label.", "Add some.")
        data.flow.append(
            {
                "part": part,
                "manifest": str(rows.path),
                "rows": len(found),
                "excluded": {reason: int(n) for reason, n in excluded.items() if n},
                "images": len(data.rows(part)),
                "patients": len(set(rows.groups[data.rows(part)])),
            }
        )
    return data


def _roles_of(rows: Manifest, splits: Mapping[str, str]) -> np.ndarray:
    """'training', 'validation' or 'test' of each row, text [N]."""
    roles = {}
    cells = rows.column(rows.columns.split)
    for value in sorted(set(cells)):
        # `remedis split` names the parts of held-out sites so; the site column tells these.
        word = folded(value.removeprefix("ood_"))
        found = [role for role, words in _ROLES.items() if word in words]
        role = splits.get(value, found[0] if found else "")
        if role not in _ROLES:
            raise UserError(
                f"{rows.path}: split {value!r} in column {rows.columns.split!r} is not known."
                + did_you_mean(word, [w for words in _ROLES.values() for w in words]),
                "Say what it is: --split VALUE=training, =validation or =test.",
            )
        roles[value] = role
    return np.array([roles[value] for value in cells])


def _matched(
    name: str, rows: Manifest, found: NamedFeatures, match: str, common: bool
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features float32 [N, F] of the manifest's rows, which have none, and what was left out."""
    if match not in MATCHES:
        raise UserError(
            f"--match {match!r} is unknown.{did_you_mean(match, MATCHES)}",
            f"Choose {', '.join(MATCHES)}.",
        )
    wanted = [_key(image, match) for image in rows.images]
    there = [_key(image, match) for image in found.images]
    for side, keys in (("the manifest", wanted), (name, there)):
        if len(set(keys)) < len(keys):
            twice = sorted({key for key in keys if keys.count(key) > 1})
            raise UserError(
                f"several images of {side} have the same {match}: {first_few(twice)}.",
                "Match by the whole path: --match path.",
            )
    place = {key: i for i, key in enumerate(there)}
    absent = np.array([key not in place for key in wanted])
    beyond = sorted(set(there) - set(wanted))
    unusable = {_key(image, match) for image in found.unusable}
    declared = np.array([key in unusable for key in wanted])
    clauses = []
    if (absent & ~declared).any():
        lacking = [wanted[i] for i in np.flatnonzero(absent & ~declared)]
        clauses.append(f"{len(lacking):,} of {len(wanted):,} images of the manifest are not in it"
                       f" ({first_few(lacking)})")  # fmt: skip
    if beyond:
        clauses.append(f"{len(beyond):,} of its {len(there):,} images are not in the manifest"
                       f" ({first_few(beyond)})")  # fmt: skip
    if clauses and not (common and not absent.all()):
        raise UserError(
            f"{name}: {'; '.join(clauses)}.",
            f"{_hint(rows.images, found.images, match)} --common uses the images of both.".strip(),
        )
    if declared.any():
        clauses.append(f"{int(declared.sum()):,} images could not be embedded")
    features = np.full((len(rows), found.features.shape[1]), np.nan, np.float32)
    features[~absent] = found.features[[place[key] for key in wanted if key in place]]
    return features, absent, [f"{name}: {clause}" for clause in clauses]


def _key(image: str, match: str) -> str:
    if match == "path":
        return image
    path = PurePosixPath(image.replace("\\", "/"))
    return path.name if match == "file" else path.stem


def _hint(wanted: Sequence[str], there: Sequence[str], match: str) -> str:
    """Which other way to match finds more images, if one does."""
    shared = {m: len({_key(i, m) for i in wanted} & {_key(i, m) for i in there}) for m in MATCHES}
    best = max(MATCHES, key=lambda m: shared[m])
    if shared[best] > shared[match]:
        return f"--match {best} would find {shared[best]:,}."
    return "Embed these images, or take the others out."


def _said(read: Mapping[str, str | None]) -> str:
    return ", ".join(f"{role} from {name}" for role, name in read.items() if name)
