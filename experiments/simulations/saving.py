"""Does the interval of the label saving hold a saving that was planted?

Command:   python -m experiments.simulations.saving --out runs/simulations/saving
           (--simulations 20 for a quick look); its figure is docs/figures/saving_simulation.png
Hardware:  two CPU cores.
Time:      see docs/reproduction.md.
Expected:  see docs/reproduction.md.

Learning curves are invented and known. A model that was trained on x times the new hospital's
labels tells ill from healthy by the strength s(x), which rises smoothly with log(x). The baseline
has s(f) at the share f, and the arm s(a + b f):

- planted: s(4 f). It equals the baseline with all labels at f = 1/4, so the true saving is 4.
- noisy: the same, but the seeds of a setting scatter three times as much as patients do.
- never: s(f / 10), which at all labels is still below the baseline.
- zero: s(2 + f), which is above it without any label.

Test patients have an effect of their own, which all models share and all their images; every model
has noise of its own, and the five seeds of a setting differ in strength. What comes of it are
predictions, and from there on everything is what a report does: one bootstrap of patients and
seeds, the crossing found anew in every resample, and both definitions of the saving.
"""

import csv
import json
import multiprocessing
import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from experiments.simulations.saving_figure import draw
from experiments.simulations.saving_model import (
    PATIENTS,
    RESAMPLES,
    SCENARIOS,
    Scenario,
    simulate,
)
from remedis_jax.cli.console import Announcer, disk_errors
from remedis_jax.cli.main import run_and_exit
from remedis_jax.errors import RunFailed
from remedis_jax.evaluation.curves import NoCrossing
from remedis_jax.evaluation.label_saving import Amount, LabelSaving
from remedis_jax.evaluation.not_defined import NotDefined

COLUMNS = ("scenario", "simulation", "saving", "low", "high", "non_inferior_saving", "side")


def rank(answer: float | NoCrossing) -> tuple[int, float]:
    """Order of savings: 'never reached' below every number, 'already at zero labels' above."""
    if isinstance(answer, NoCrossing):
        return (-1 if answer is NoCrossing.NEVER_REACHED else 1), 0.0
    return 0, answer


def side(saving: Amount, truth: float | NoCrossing) -> str:
    """Where the interval is: it 'holds' the truth, or is 'below' or 'above' it."""
    if rank(saving.high) < rank(truth):
        return "below"
    return "above" if rank(saving.low) > rank(truth) else "holds"


def row_of(scenario: Scenario, number: int, found: LabelSaving) -> dict[str, Any]:
    """One line of the table; answers that are no numbers are words.

    Raises:
        RunFailed: A saving is not defined, so the simulation is not what it says.
    """
    saving = found.saving
    if isinstance(saving, NotDefined):
        raise RunFailed(
            f"{scenario.name}, simulation {number}: no saving ({saving.reason}).",
            "Simulate more patients.",
        )
    record = found.as_record()
    written = record["crossing"]["saving"]
    return {
        "scenario": scenario.name,
        "simulation": number,
        "saving": written["value"],
        "low": written["low"],
        "high": written["high"],
        "non_inferior_saving": record["non_inferior"]["saving"],
        "side": side(saving, scenario.truth),
    }


def _simulated(job: tuple[Scenario, int, int, int]) -> dict[str, Any]:
    scenario, number, patients, resamples = job
    return row_of(scenario, number, simulate(scenario, number, patients, resamples))


def run(
    simulations: int,
    announce: Callable[[str], None],
    *,
    processes: int = 2,
    patients: int = PATIENTS,
    resamples: int = RESAMPLES,
) -> list[dict[str, Any]]:
    """All simulations; rows as `row_of`, in order."""
    jobs = [
        (scenario, number, patients, resamples)
        for scenario in SCENARIOS
        for number in range(max(1, round(simulations * scenario.share)))
    ]
    rows: list[dict[str, Any]] = []

    def collect(done: dict[str, Any]) -> None:
        rows.append(done)
        if len(rows) % max(1, len(jobs) // 20) == 0 or len(rows) == len(jobs):
            announce(f"{len(rows):,} of {len(jobs):,} simulations")

    if processes == 1:
        for job in jobs:
            collect(_simulated(job))
        return rows
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for done in pool.map(_simulated, jobs):
            collect(done)
    return rows


def summary_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Coverage with its binomial interval, width, and how often each answer came out."""
    from scipy.stats import binomtest

    summary: dict[str, Any] = {}
    for scenario in SCENARIOS:
        of_it = [row for row in rows if row["scenario"] == scenario.name]
        covered = sum(row["side"] == "holds" for row in of_it)
        exact = binomtest(covered, len(of_it)).proportion_ci(0.95, "wilson")
        numbers = [row for row in of_it if _numeric(row["low"]) and _numeric(row["high"])]
        values = [row["saving"] for row in of_it if _numeric(row["saving"])]
        stated = [row["non_inferior_saving"] for row in of_it]
        summary[scenario.name] = {
            "truth": scenario.truth if _numeric(scenario.truth) else scenario.truth.value,
            "simulations": len(of_it),
            "covered": covered,
            "below": sum(row["side"] == "below" for row in of_it),
            "above": sum(row["side"] == "above" for row in of_it),
            "coverage": covered / len(of_it),
            "coverage_low": float(exact.low),
            "coverage_high": float(exact.high),
            "answers": _answers(row["saving"] for row in of_it),
            "lower_ends": _answers(row["low"] for row in of_it),
            "upper_ends": _answers(row["high"] for row in of_it),
            "median_saving": float(np.median(values)) if values else None,
            "median_low": _median([row["low"] for row in numbers]),
            "median_high": _median([row["high"] for row in numbers]),
            "median_high_over_low": _median([row["high"] / row["low"] for row in numbers]),
            "non_inferior_answers": _answers(stated),
            "non_inferior_median_saving": _median([s for s in stated if _numeric(s)]),
        }
    return summary


def require_answers(rows: Sequence[dict[str, Any]], *texts: str) -> None:
    """Raises RunFailed if an answer that is no number was written as one."""
    for row in rows:
        for name in ("saving", "low", "high", "non_inferior_saving"):
            if not _numeric(row[name]) and row[name] not in set(NoCrossing):
                raise RunFailed(f"{name} is {row[name]!r} in {row}.", "Report this as a defect.")
            if _numeric(row[name]) and not 1 <= row[name] < np.inf:
                raise RunFailed(f"{name} is {row[name]} in {row}.", "Report this as a defect.")
    for text in texts:
        wrong = re.search(r"\b(inf|infinity|nan)\b", text, re.IGNORECASE)
        if wrong:
            raise RunFailed(f"{wrong[0]!r} stands in a result.", "Report this as a defect.")


def write(rows: Sequence[dict[str, Any]], out: Path) -> dict[str, Any]:
    """saving_simulation.csv, .json, .png and .svg; returns the summary.

    Raises:
        RunFailed: As `require_answers`.
    """
    out.mkdir(parents=True, exist_ok=True)
    summary = summary_of(rows)
    text = json.dumps(summary, indent=1, allow_nan=False) + "\n"
    table = out / "saving_simulation.csv"
    with open(table, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    require_answers(rows, text, table.read_text(encoding="utf-8"))
    (out / "saving_simulation.json").write_text(text, encoding="utf-8")
    draw(rows, summary, out / "saving_simulation.png")
    return summary


def sentences(summary: dict[str, Any]) -> list[str]:
    """What came out, in words."""
    lines = []
    for name in ("planted", "noisy"):
        found = summary[name]
        lines.append(
            f"{name}: the saving of {found['truth']:g} is within the 95% interval in "
            f"{found['covered']} of {found['simulations']} simulations, {found['coverage']:.1%} "
            f"(95% interval {found['coverage_low']:.1%} to {found['coverage_high']:.1%}); "
            f"{found['below']} intervals are wholly below it and {found['above']} above."
        )
        if found["median_high_over_low"] is not None:
            lines.append(
                f"{name}: median estimate {found['median_saving']:.2f}, median ends "
                f"{found['median_low']:.2f} and {found['median_high']:.2f}; the upper end is "
                f"{found['median_high_over_low']:.1f} times the lower one (median)."
            )
    for name, found in summary.items():
        by_margin = found["non_inferior_median_saving"]
        answers = "; ".join(f"{count} {answer}" for answer, count in found["answers"].items())
        stated = "; ".join(f"{n} {answer}" for answer, n in found["non_inferior_answers"].items())
        more = "" if by_margin is None else f", median {by_margin:.2f}"
        lines.append(f"{name}: by the crossing {answers}; by the margin {stated}{more}.")
    return lines


def main(
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path(
        "runs/simulations/saving"
    ),
    simulations: Annotated[int, typer.Option(help="Of the planted saving.", min=4)] = 200,
    processes: Annotated[int, typer.Option(help="At a time.", min=1)] = 2,
) -> None:
    """Simulate experiments with a known label saving and count how often it is found."""
    announce = Announcer()
    with disk_errors():
        rows = run(simulations, announce, processes=processes)
        for line in sentences(write(rows, out)):
            print(line)


def _numeric(answer: object) -> bool:
    return isinstance(answer, float) and not isinstance(answer, NoCrossing)


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _answers(answers) -> dict[str, int]:
    """How many numbers and how many of each word, the three always named."""
    counts = Counter("a number" if _numeric(answer) else str(answer) for answer in answers)
    return {name: counts[name] for name in ("a number", *(answer.value for answer in NoCrossing))}


if __name__ == "__main__":
    run_and_exit(lambda: typer.run(main))
