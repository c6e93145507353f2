"""Which column of a table plays which part, by the names that other tools give their columns.

A name is compared without its case, spaces, dashes and underscores: 'PatientID' is 'patient_id'.
Every role has names of a first and of a second rank; those of the second ('id', 'slide') count only
where none of the first is there. Two columns of one rank that do not hold the same are refused:
which one is meant is not guessed.

Seen in the tools' own code or documentation: PATIENT (STAMP), patient and slide (slideflow),
filename (TorchXRayVision's batch script, LightlyTrain), filenames (Lightly's embeddings), origin
and target (kaiko eva). The others are those of public data sets and of common use.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.errors import UserError

IMAGE, GROUP, LABEL, SITE, SPLIT = "image", "group", "label", "site", "split"
NAMES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    IMAGE: (
        (
            "image", "images", "image_id", "image_name", "image_path", "image_file",
            "image_filename", "image_index", "img", "img_id", "img_name", "img_path", "filename",
            "filenames", "file", "filepath", "path", "origin", "dicom_id", "sop_instance_uid",
        ),
        ("id", "uid", "sample", "sample_id", "key", "name", "slide", "slide_id"),
    ),
    GROUP: (
        (
            "group", "group_id", "patient", "patient_id", "patient_name", "subject", "subject_id",
            "participant", "participant_id", "person_id",
        ),
        ("case", "case_id", "lesion", "lesion_id", "slide", "slide_id", "study", "study_id"),
    ),
    LABEL: (
        (
            "label", "labels", "y_true", "true", "truth", "true_label", "label_true", "target",
            "targets", "ground_truth", "gt", "class", "class_name", "class_label", "y", "dx",
            "diagnosis", "actual",
        ),
    ),
    SITE: (
        ("site", "site_id", "hospital", "hospital_id", "center", "centre", "center_id", "centre_id",
         "institution"),
    ),
    SPLIT: (("split", "partition"),),
}  # fmt: skip
WORDS = {
    IMAGE: "the image", GROUP: "the patient", LABEL: "the label", SITE: "the site",
    SPLIT: "the split",
}  # fmt: skip


def folded(name: str) -> str:
    """A name without what tools write differently."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


_FOLDED = {
    role: tuple(frozenset(map(folded, rank)) for rank in ranks) for role, ranks in NAMES.items()
}


def candidates(columns: Iterable[str], role: str) -> list[str]:
    """The columns whose name is one of the role's, of the best rank that is there."""
    columns = list(columns)
    for rank in _FOLDED[role]:
        if found := [name for name in columns if folded(name) in rank]:
            return found
    return []


def find_column(
    table: pd.DataFrame, role: str, where: str, given: Mapping[str, str], taken: Iterable[str] = ()
) -> str | None:
    """The column that plays a role.

    Args:
        table: Text.
        role: A key of `NAMES`.
        where: The file, for messages.
        given: Role -> column, as the user says; '' for none.
        taken: Columns that play another role already.

    Returns:
        Its name; None where no column has such a name, or the user says so.

    Raises:
        UserError: The column that the user names is not there, or several could be meant.
    """
    if role in given:
        name = given[role]
        if name:
            require_column(table, name, where)
        return name or None
    taken = set(taken)
    found = candidates([name for name in table.columns if name not in taken], role)
    distinct = {tuple(table[name]) for name in found}
    if len(distinct) > 1:
        raise UserError(
            f"{where}: {WORDS[role]} could be column {' or '.join(map(repr, found))}.",
            f"Say which: --column {role}={found[0]}.",
        )
    return found[0] if found else None


def require_column(table: pd.DataFrame, name: str, where: str) -> None:
    """Raises UserError, with the nearest name, where there is no such column."""
    if name not in table.columns:
        raise UserError(
            f"{where} has no column {name!r}.{did_you_mean(name, table.columns)}",
            f"It has {first_few([repr(column) for column in table.columns])}.",
        )


def find_image_and_group(
    table: pd.DataFrame, where: str, given: Mapping[str, str], *, group_required: bool = True
) -> tuple[str, str | None]:
    """The columns of the image and of the patient.

    A table without a column for the image, in which each patient has one row, is one of patients:
    the patient names the row.

    Args:
        table: Text.
        where: The file, for messages.
        given: As for `find_column`; as group 'image' says that every image is its own patient.
        group_required: Whether a table without patients is refused.

    Raises:
        UserError: One is missing or not clear.
    """
    image = find_column(table, IMAGE, where, given)
    if given.get(GROUP) == IMAGE and IMAGE not in table.columns and image is not None:
        return image, image
    group = find_column(table, GROUP, where, given, [] if image is None else [image])
    if image is None and group is not None and table[group].is_unique:
        image = group
    if image is None:
        raise UserError(
            f"{where} has no column {IMAGE!r} or of another name for the image."
            + did_you_mean(IMAGE, table.columns),
            f"Say which it is: --column image=NAME. It has {first_few(list(table.columns))}.",
        )
    if group is None and group_required:
        raise UserError(
            f"{where} has no column {GROUP!r} or of another name for the patient."
            + did_you_mean(GROUP, table.columns),
            "Name it with --group COLUMN; --group image says that every image is of another"
            " patient.",
        )
    return image, group


def parse_columns(texts: Sequence[str], further: Sequence[str] = ()) -> dict[str, str]:
    """What `--column ROLE=NAME ...` says: role -> column.

    Args:
        texts: As the user wrote them; 'site=' says that there is none.
        further: Roles beside those of `NAMES`; 'p_' stands for every role that begins so.

    Raises:
        UserError: One has no '=', a role is unknown or given twice.
    """
    known = [*NAMES, *further]
    given: dict[str, str] = {}
    for text in texts:
        role, equals, name = (part.strip() for part in text.partition("="))
        fits = any(
            role.startswith(start) and role != start if start.endswith("_") else role == start
            for start in known
        )
        if not equals or not fits or role in given:
            problem = "says nothing" if not equals else f"names the role {role!r} again"
            if equals and not fits:
                problem = f"names no role.{did_you_mean(role, known)}"
            shown = ", ".join(f"{k}NAME" if k.endswith("_") else k for k in known)
            raise UserError(
                f"--column {text!r} {problem.rstrip('.')}.",
                f"Write --column ROLE=COLUMN; the roles are {shown}.",
            )
        given[role] = name
    return given
