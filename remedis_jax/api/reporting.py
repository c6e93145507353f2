"""Reports as a function: of an experiment, several of them, a run, or predictions files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from remedis_jax.errors import UserError

PREDICTIONS = "predictions.csv"


def write_report(
    path: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    show: bool = False,
    **options: Any,
) -> Path:
    """Writes the report of an experiment, a run, or predictions files.

    Args:
        path: The folder of an experiment or of a run, or a predictions file; or several
            experiments, or several predictions files (or folders that hold one).
        out: Where to write; beside the first input if None, and `overview` there for several
            experiments.
        show: Also print the tables.
        **options: Of predictions files, see `remedis_jax.report.report_from_predictions`: positive,
            aggregate, group, validation, manifest, characteristics, operating_point, images,
            resamples, seed.

    Returns:
        The HTML page.

    Raises:
        UserError: A path holds nothing that a report can be made of, several paths are of
            different kinds, or there are options that are not of this kind of report.
    """
    from remedis_jax.report.page import (
        report_from_experiment,
        report_from_experiments,
        report_from_predictions,
        report_from_run,
    )

    several = [path] if isinstance(path, str | Path) else list(path)
    if not several:
        raise UserError("there is nothing to report on.", "Name a folder or a predictions file.")
    paths = [Path(one) for one in several]
    kinds = [_kind(one) for one in paths]
    if len(set(kinds)) > 1:
        raise UserError(
            f"{paths[0]} is {kinds[0]} and {paths[kinds.index(_other(kinds))]} is {_other(kinds)}.",
            "Report on one kind of thing at a time.",
        )
    first, kind = paths[0], kinds[0]
    beside = first.parent if first.is_file() else first
    if kind == "predictions":
        files = [one if one.is_file() else one / PREDICTIONS for one in paths]
        target = Path(out) if out else beside
        return report_from_predictions(files, target, show=show, **options)
    if options:
        raise UserError(
            f"{', '.join(sorted(options))}: an option of predictions files, and {first} is {kind}.",
            "Leave it out, or give predictions files.",
        )
    if kind == "an experiment" and len(paths) > 1:
        target = Path(out) if out else first.parent / "overview"
        return report_from_experiments(paths, target, show=show)
    if len(paths) > 1:
        raise UserError("several runs have no common report.", "Report on each by itself.")
    report = report_from_experiment if kind == "an experiment" else report_from_run
    return report(first, Path(out) if out else first, show=show)


def _kind(path: Path) -> str:
    if path.is_file() or ((path / PREDICTIONS).is_file() and not _is_run(path)):
        return "predictions"
    if (path / "experiment.json").is_file():
        return "an experiment"
    if (path / "metrics.jsonl").is_file():
        return "a run"
    raise UserError(
        f"{path} is no experiment, run or predictions file.",
        f"Give a folder with experiment.json, metrics.jsonl or {PREDICTIONS}, or a table.",
    )


def _is_run(path: Path) -> bool:
    return (path / "experiment.json").is_file() or (path / "metrics.jsonl").is_file()


def _other(kinds: Sequence[str]) -> str:
    return next(kind for kind in kinds if kind != kinds[0])
