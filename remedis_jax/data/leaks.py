"""What a leak guard found: patients, files and pictures on both sides of a test, in words and JSON.

`remedis_jax.data.seen` looks for them. The findings refuse a run, or, where leakage is allowed,
stand in `leak_guard.json` beside what the run made, from where every report takes its stamp.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from remedis_jax.data.leak_parts import Against, Comparison, Kind, Leak
from remedis_jax.data.messages import SHOWN, first_few
from remedis_jax.errors import RunFailed, UserError

GUARD_NAME = "leak_guard.json"
STAMP = "LEAKAGE ALLOWED"
_FORM = "remedis_jax leak guard 1"
_TO_GO_ON = (
    "Take them out of one side; or go on with --allow-leakage (data.allow_leakage=True), which"
    " stamps every report."
)


@dataclasses.dataclass(frozen=True)
class LeakFindings:
    """What was compared and what was found; `a + b` holds both.

    Attributes:
        leaks: What is on both sides.
        comparisons: What was compared, whether anything was found or not.
    """

    leaks: tuple[Leak, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

    def __add__(self, other: "LeakFindings") -> "LeakFindings":
        return LeakFindings(self.leaks + other.leaks, self.comparisons + other.comparisons)

    def raise_if_any(self, redact: bool = False) -> None:
        """Refuses what was found.

        Args:
            redact: Show hashes in place of ids, and rows in place of names of images.

        Raises:
            UserError: Something is on both sides: of each kind how many, and the first five.
        """
        if not self.leaks:
            return
        kinds = {leak.kind for leak in self.leaks}
        remedy = _TO_GO_ON
        if "group" in kinds:
            remedy += " If only the ids are equal, and not the patients: --namespace."
        if "picture" in kinds:
            remedy += " If they only look alike: lower data.near_duplicates (-1 for none)."
        clauses = "; ".join(leak.listed(redact) for leak in self.leaks)
        raise UserError(f"Leakage: {clauses}.", remedy)

    def sentence(self) -> str:
        """What a report says: what was compared, and what was found."""
        sentences = [self.stamp()] if self.stamp() else []
        found = {(leak.judged, leak.stage) for leak in self.leaks}
        sentences += [comparison.sentence(found) for comparison in self.comparisons]
        return " ".join(sentences) or "Nothing was compared."

    def stamp(self) -> str:
        """The banner of everything that rests on leaked data; "" where nothing leaked."""
        clauses = [leak.counted() for leak in self.leaks]
        earlier = dict.fromkeys(
            f"{against.stage} ({against.leakage})"
            for comparison in self.comparisons
            for against in comparison.against
            if against.leakage
        )
        text = ""
        if clauses:
            text = (
                f"{STAMP}: {'; '.join(clauses)}. What is measured on them is not how it will do on"
                " new patients."
            )
        if earlier:
            text += f"{' ' if text else ''}{STAMP} in training: {'; '.join(earlier)}."
        return text

    def summary(self) -> str:
        """The first five as counts, without ids, names or paths, to travel with weights."""
        return first_few([leak.counted() for leak in self.leaks], "; ")

    def to_json(self, *, weights: str | None = None, redact: bool = False) -> dict[str, Any]:
        """As plain JSON values.

        Args:
            weights: The artefact's hash of the weights that were compared, if any.
            redact: Leave out ids and names.
        """
        leaks = [dataclasses.asdict(leak) for leak in self.leaks]
        for leak in leaks:
            redacted = leak.pop("redacted")
            leak["examples"] = list(redacted if redact else leak["examples"])
        return {
            "form": _FORM,
            "weights": weights,
            "leakage_allowed": bool(self.stamp()),
            "sentence": self.sentence(),
            "leaks": leaks,
            "comparisons": [dataclasses.asdict(comparison) for comparison in self.comparisons],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "LeakFindings":
        """From what `to_json` returned; raises ValueError, KeyError or TypeError for other."""
        if values["form"] != _FORM:
            raise ValueError(f"its form is {values['form']!r}")
        leaks = [Leak(**leak | {"examples": _texts(leak["examples"])}) for leak in values["leaks"]]
        comparisons = [
            Comparison(**entry | {"against": tuple(Against(**a) for a in entry["against"])})
            for entry in values["comparisons"]
        ]
        for entry in (*leaks, *comparisons, *(a for c in comparisons for a in c.against)):
            _check_types(entry)
        return cls(tuple(leaks), tuple(comparisons))


@dataclasses.dataclass(frozen=True)
class Guard:
    """What a `leak_guard.json` holds.

    Attributes:
        findings: What was compared and found.
        weights: The artefact's hash of the weights that were compared; None where there were none.
    """

    findings: LeakFindings
    weights: str | None = None


def redacted(group: str) -> str:
    """What is shown in place of an id: the start of its SHA-256."""
    return f"sha256:{hashlib.sha256(group.encode()).hexdigest()[:12]}"


def write_guard(
    folder: str | os.PathLike,
    findings: LeakFindings,
    *,
    weights: str | None = None,
    redact: bool = False,
) -> Path:
    """Writes `leak_guard.json`, whole or not at all; arguments as for `LeakFindings.to_json`.

    Raises:
        RunFailed: It cannot be written.
    """
    path = Path(folder) / GUARD_NAME
    temporary = path.with_suffix(".tmp")
    content = findings.to_json(weights=weights, redact=redact)
    try:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise RunFailed(
            f"{path} could not be written ({error.strerror}).",
            "Free some space or choose another folder, then repeat the command.",
        ) from error
    return path


def read_guard(folder: str | os.PathLike) -> Guard | None:
    """A folder's `leak_guard.json`; None where it has none.

    Raises:
        UserError: It is not what `write_guard` writes.
    """
    path = Path(folder) / GUARD_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}).", "Evaluate again.") from error
    try:
        values = json.loads(text)
        weights = values["weights"]
        if not isinstance(weights, str | None):
            raise TypeError("weights is no hash")
        return Guard(LeakFindings.from_json(values), weights)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is not what the leak guard writes ({error!r}).",
            "Evaluate again; a report without it would not say whether there was a leak.",
        ) from error


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or len(values) > SHOWN:
        raise TypeError("examples are no short list")
    return tuple(str(value) for value in values)


_TYPES: Mapping[str, type | tuple] = {
    "kind": str, "judged": str, "stage": str, "count": int, "images": int, "flat": int,
    "most": int, "bits": int, "groups": (int, type(None)), "known": bool, "leakage": str,
    "supervised": (bool, type(None)),
}  # fmt: skip


def _check_types(entry: Leak | Comparison | Against) -> None:
    for name, kind in _TYPES.items():
        if hasattr(entry, name) and not isinstance(getattr(entry, name), kind):
            raise TypeError(f"{name} is {getattr(entry, name)!r}")
    if isinstance(entry, Leak) and entry.kind not in get_args(Kind):
        raise ValueError(f"kind is {entry.kind!r}")
