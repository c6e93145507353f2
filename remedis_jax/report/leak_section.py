"""What a report says of the leak guard: a section, and the banner where leakage was allowed."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from remedis_jax.data.leak_parts import UNKNOWN_WEIGHTS
from remedis_jax.data.leaks import STAMP, Guard, LeakFindings, read_guard
from remedis_jax.data.messages import SHOWN
from remedis_jax.report.document import Section
from remedis_jax.report.tables import plain

HEADING = "Leak guard"
ABSENT = (
    "No leak_guard.json lies beside it, so nothing is known of whether its model has seen these"
    " patients or images."
)


def guards_of(paths: Iterable[Path]) -> dict[Path, Guard | None]:
    """File -> the leak guard of its folder; None where it has none."""
    by_folder: dict[Path, Guard | None] = {}
    found = {}
    for path in paths:
        if path.parent not in by_folder:
            by_folder[path.parent] = read_guard(path.parent)
        found[path] = by_folder[path.parent]
    return found


def merged(guards: Iterable[Guard | None]) -> LeakFindings:
    """All findings, each once."""
    findings = LeakFindings()
    for guard in guards:
        if guard is not None:
            findings += guard.findings
    return LeakFindings(
        tuple(dict.fromkeys(findings.leaks)), tuple(dict.fromkeys(findings.comparisons))
    )


def common_weights(guards: Iterable[Guard | None]) -> str | None:
    """The hash of the weights that all guards are of; None where they differ or name none."""
    hashes = {guard.weights for guard in guards if guard is not None}
    return hashes.pop() if len(hashes) == 1 else None


def stamp_of(guards: Iterable[Guard | None]) -> str:
    """What stands on the figures: two words where leakage was allowed, else nothing."""
    return STAMP if banner_of(guards) else ""


def banner_of(guards: Iterable[Guard | None]) -> str:
    """What stands above the report: of the first leak, and how many there are; "" for none."""
    stamps = [s for s in (guard.findings.stamp() for guard in guards if guard is not None) if s]
    distinct = list(dict.fromkeys(stamps))
    if len(distinct) <= 1:
        return distinct[0] if distinct else ""
    return f"{STAMP}: in {len(stamps):,} of the results here. The first of them: {distinct[0]}"


def guard_section(guards: Mapping[str, Guard | None]) -> Section:
    """The section of a report on a few files.

    Args:
        guards: What each is called -> its guard.
    """
    several = len(guards) > 1
    lines = [
        (f"- {plain(name)}: " if several else "")
        + plain(ABSENT if guard is None else guard.findings.sentence())
        for name, guard in guards.items()
    ]
    return Section(HEADING, "\n".join(lines))


def run_section(guard: Guard | None) -> Section:
    """The section of a report on a training run."""
    if guard is None:
        text = "The run has no leak_guard.json, so its data were not compared with test data."
    elif not guard.findings.comparisons:
        text = (
            "The config names no other split, validation rows or held-out data, so there was"
            " nothing to keep the training data apart from. An evaluation with these weights"
            " compares its data with theirs."
        )
    else:
        text = guard.findings.sentence()
    return Section(HEADING, plain(text))


def counted_section(
    guards: Sequence[Guard | None], what: str, before: Sequence[Guard] = ()
) -> Section:
    """The section of a report on many files: how many were compared, and what was found.

    Args:
        guards: One of each.
        what: What they are called, such as 'test predictions'.
        before: Of what was trained beforehand; only leaks of these are told.
    """
    found = [guard.findings for guard in guards if guard is not None]
    leaked = [findings for findings in found if findings.stamp()]
    unknown = [findings for findings in found if not findings.stamp() and not _is_known(findings)]
    clean = len(found) - len(leaked) - len(unknown)
    total, lines = len(guards), [g.findings.stamp() for g in before if g.findings.stamp()]
    if leaked:
        lines.append(f"{STAMP} in {len(leaked):,} of {total:,} {what}.")
        stamps = list(dict.fromkeys(findings.stamp() for findings in leaked))
        lines += stamps[:SHOWN]
        if len(stamps) > SHOWN:
            lines.append(f"And {len(stamps) - SHOWN:,} more, in their folders' leak_guard.json.")
    if clean:
        example = next(f for f in found if not f.stamp() and _is_known(f))
        lines.append(f"{clean:,} of {total:,} {what} share nothing with what their weights have "
                     f"seen. The first of them: {example.sentence()}")  # fmt: skip
    if unknown:
        lines.append(f"{len(unknown):,} of {total:,} {what}: {UNKNOWN_WEIGHTS}.")
    if total > len(found):
        lines.append(
            f"{total - len(found):,} of {total:,} {what} have no leak_guard.json beside them, so"
            " nothing is known of whether their models have seen these patients or images."
        )
    return Section(HEADING, "\n".join(f"- {plain(line)}" for line in lines))


def _is_known(findings: LeakFindings) -> bool:
    """Whether anything was compared with anything."""
    return any(against.known for c in findings.comparisons for against in c.against)
