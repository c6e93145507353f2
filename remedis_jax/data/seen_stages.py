"""What weights have seen, as hashes that travel with them, and whether test data are among it.

Every stage of training leaves a block: of every image the first 8 bytes of the SHA-256 of its file
and its fingerprint (`remedis_jax.data.fingerprints`), of every patient the first 16 bytes of a
salted SHA-256. Weights carry the blocks of all stages that they come from, unlabelled pools
included. Blocks are sorted and without repetition, so they say nothing of the order of rows, and
the same data give the same bytes.

The hashes keep honest people from mistakes. They are no secret: whoever can guess a patient's id
can find out whether it is among them.
"""

import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from remedis_jax.data.fingerprints import FINGERPRINT_BYTES
from remedis_jax.data.inspection import ImageFacts
from remedis_jax.errors import UserError

# ours: a million images against ten thousand agree in 8 bytes by chance once in 2e9 times.
FILE_BYTES = 8
GROUP_BYTES = 16
# Fingerprints of another kind cannot be compared with those of this version.
FINGERPRINT = "phash256"
_WIDTHS = {"sha256": FILE_BYTES, "fingerprints": FINGERPRINT_BYTES, "groups": GROUP_BYTES}
_MAX_TEXT = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class SeenStage:
    """What one stage of training saw.

    Attributes:
        name: Of the stage, such as 'simclr'.
        supervised: Whether it read labels.
        images: Images, whether equal or not.
        patients: Groups; None where no column named them.
        salt: What the hashes of groups begin with.
        leakage: What test data were among its own, where that was allowed, as counts.
        known: False where it is not recorded what it saw; everything below is empty then.
        sha256: uint8 [N, 8], sorted.
        fingerprints: uint8 [M, 32], sorted.
        groups: uint8 [G, 16], sorted.
    """

    name: str
    supervised: bool
    images: int = 0
    patients: int | None = None
    salt: str = ""
    leakage: str = ""
    known: bool = True
    sha256: np.ndarray = dataclasses.field(default_factory=lambda: _rows(b"", FILE_BYTES))
    fingerprints: np.ndarray = dataclasses.field(
        default_factory=lambda: _rows(b"", FINGERPRINT_BYTES)
    )
    groups: np.ndarray = dataclasses.field(default_factory=lambda: _rows(b"", GROUP_BYTES))

    @classmethod
    def forgotten(cls, name: str, supervised: bool = False) -> "SeenStage":
        """A stage of which it is not recorded what it saw."""
        return cls(name, supervised, known=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What weights have seen in all stages that they come from, the first one first."""

    stages: tuple[SeenStage, ...] = ()

    def then(self, stage: SeenStage) -> "Seen":
        """With one stage more."""
        return Seen((*self.stages, stage))

    def records(self) -> list[dict[str, Any]]:
        """All but the arrays, as JSON values; one mapping a stage."""
        return [_record(stage) for stage in self.stages]

    def arrays(self) -> dict[str, np.ndarray]:
        """`NUMBER/KIND` -> uint8 [rows, bytes]; those without rows are left out."""
        return {
            f"{number}/{kind}": values
            for number, stage in enumerate(self.stages)
            for kind, values in _arrays(stage).items()
        }

    @classmethod
    def from_parts(cls, records: Any, arrays: Mapping[str, np.ndarray]) -> "Seen":
        """From what `records` and `arrays` returned.

        Raises:
            ValueError: They are something else, or do not fit each other.
        """
        if not isinstance(records, list):
            raise ValueError("what was seen is no list of stages")
        left = dict(arrays)
        stages = []
        for number, record in enumerate(records):
            own = {kind: left.pop(f"{number}/{kind}", None) for kind in _WIDTHS}
            stages.append(_stage(record, own))
        if left:
            raise ValueError(f"{sorted(left)[0]} belongs to no stage")
        return cls(tuple(stages))


def after(parent: Seen | None, parent_stage: str | None) -> Seen:
    """What was seen before a stage begins.

    Args:
        parent: What the initial weights have seen; None where they do not say.
        parent_stage: What the initial weights come from; None for random weights.
    """
    if parent is not None:
        return parent
    return Seen() if parent_stage is None else Seen((SeenStage.forgotten(parent_stage),))


def remember(
    name: str,
    supervised: bool,
    facts: Iterable[ImageFacts],
    groups: Sequence[str] | None,
    *,
    salt: str,
    namespace: str = "",
    leakage: str = "",
) -> SeenStage:
    """The block of a stage.

    Args:
        name: Of the stage.
        supervised: Whether it reads labels.
        facts: Of the images that it is trained on; those that cannot be used are passed over.
        groups: Their patients, in any order; None where no column names them.
        salt: Text such as the SHA-256 of the manifest, so that the same command gives the same
            bytes.
        namespace: Who gave out the ids of the patients.
        leakage: See `SeenStage`; `LeakFindings.summary` gives it.
    """
    facts = [found for found in facts if not found.problem]
    pictured = [found for found in facts if not found.constant]
    files = b"".join(bytes.fromhex(found.sha256)[:FILE_BYTES] for found in pictured)
    pictures = b"".join(found.fingerprint for found in pictured)
    distinct = None if groups is None else set(groups)
    return SeenStage(
        name=name,
        supervised=supervised,
        images=len(facts),
        patients=None if distinct is None else len(distinct),
        salt=salt,
        # It may hold the name of a file, and files may have any.
        leakage="".join(c if c.isprintable() else "?" for c in leakage)[:_MAX_TEXT],
        sha256=_unique(_rows(files, FILE_BYTES)),
        fingerprints=_unique(_rows(pictures, FINGERPRINT_BYTES)),
        groups=_unique(_rows(b"".join(group_hashes(distinct or (), namespace, salt)), GROUP_BYTES)),
    )


def group_hashes(groups: Iterable[str], namespace: str, salt: str) -> list[bytes]:
    """The first 16 bytes of SHA-256(salt, namespace, id) of every id."""
    # Lengths, so that no two pairs of namespace and id make the same text.
    space, start = namespace.encode(), salt.encode()
    begun = hashlib.sha256(b"%d %d " % (len(start), len(space)) + start + space)
    hashes = []
    for group in groups:
        digest = begun.copy()
        digest.update(str(group).encode())
        hashes.append(digest.digest()[:GROUP_BYTES])
    return hashes


def write_stage(path: str | os.PathLike, stage: SeenStage) -> None:
    """Writes a block to an .npz file, whole or not at all; the same block gives the same bytes.

    Raises:
        OSError: It cannot be written.
    """
    path = Path(path)
    record = np.frombuffer(json.dumps(_record(stage), sort_keys=True).encode(), np.uint8)
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        np.savez(file, record=record, **_arrays(stage))
    os.replace(temporary, path)


def read_stage(path: str | os.PathLike) -> SeenStage:
    """Reads what `write_stage` wrote.

    Raises:
        UserError: It is not there, or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        record = json.loads(arrays.pop("record").tobytes())
        if not arrays.keys() <= _WIDTHS.keys():
            raise ValueError("it holds other arrays")
        return _stage(record, arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} does not say what the run has seen ({error}).",
            "Begin the run anew in another folder.",
        ) from error


def _record(stage: SeenStage) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "supervised": stage.supervised,
        "images": stage.images,
        "patients": stage.patients,
        "salt": stage.salt,
        "leakage": stage.leakage,
        "known": stage.known,
        "fingerprint": FINGERPRINT,
        "rows": {kind: len(values) for kind, values in _all_arrays(stage).items()},
    }


def _all_arrays(stage: SeenStage) -> dict[str, np.ndarray]:
    return {
        "sha256": stage.sha256, "fingerprints": stage.fingerprints, "groups": stage.groups,
    }  # fmt: skip


def _arrays(stage: SeenStage) -> dict[str, np.ndarray]:
    return {kind: values for kind, values in _all_arrays(stage).items() if len(values)}


def _stage(record: Any, arrays: Mapping[str, np.ndarray | None]) -> SeenStage:
    """A stage from its record and arrays; raises ValueError."""
    try:
        name, salt, leakage = (record[key] for key in ("stage", "salt", "leakage"))
        supervised, known, images = (record[key] for key in ("supervised", "known", "images"))
        patients, rows = record["patients"], record["rows"]
        kind = record["fingerprint"]
        shaped = (
            all(_is_text(text) for text in (name, salt, leakage))
            and isinstance(supervised, bool)
            and isinstance(known, bool)
            and _is_count(images)
            and (patients is None or _is_count(patients))
            and rows.keys() == _WIDTHS.keys()
            and all(map(_is_count, rows.values()))
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a stage that was seen is incomplete ({error!r})") from error
    if not shaped:
        raise ValueError("a stage that was seen has not the form of one")
    if kind != FINGERPRINT:
        raise ValueError(f"its fingerprints are {kind!r}, and this version makes {FINGERPRINT!r}")
    values = {}
    for part, width in _WIDTHS.items():
        found = arrays.get(part)
        found = _rows(b"", width) if found is None else found
        if found.dtype != np.uint8 or found.shape != (rows[part], width):
            raise ValueError(
                f"{part} seen in stage {name!r} are {found.dtype} {list(found.shape)} and not"
                f" uint8 [{rows[part]}, {width}]"
            )
        values[part] = found
    return SeenStage(name, supervised, images, patients, salt, leakage, known, **values)


def _is_text(value: Any) -> bool:
    # It is shown in terminals, which other characters can steer.
    return isinstance(value, str) and len(value) <= _MAX_TEXT and value.isprintable()


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _rows(data: bytes, width: int) -> np.ndarray:
    return np.frombuffer(data, np.uint8).reshape(-1, width)


def _unique(rows: np.ndarray) -> np.ndarray:
    """Distinct rows in the order of their bytes."""
    words = rows.view(">u8")
    rows = rows[np.lexsort(words.T[::-1])]
    differs = np.any(rows[1:] != rows[:-1], axis=1)
    return np.ascontiguousarray(rows[np.concatenate([np.ones(min(len(rows), 1), bool), differs])])
