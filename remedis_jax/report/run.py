"""The report of one training run: its curves, its end, its config."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pandas as pd

from remedis_jax.data.label_counts import read_counts
from remedis_jax.data.leaks import read_guard
from remedis_jax.errors import UserError
from remedis_jax.evaluation.histograms import HISTOGRAMS, read_histograms
from remedis_jax.report.document import Document, Section, write_report
from remedis_jax.report.figures import (
    monitor_figure,
    similarity_figure,
    stamped,
    training_curve_figure,
)
from remedis_jax.report.label_section import label_sections
from remedis_jax.report.leak_section import banner_of, run_section, stamp_of
from remedis_jax.report.tables import fenced, markdown_table, plain
from remedis_jax.report.wording import percent
from remedis_jax.versions import versions

READING = """
- The loss is of the training batches and falls in jumps; the strong line is its running mean.
- Validation scores are by patient, on rows that are not trained on.
- A run is judged by a report on test predictions, not by its training loss.
"""
_SURVIVAL = ("cox", "discrete_time")
REPRESENTATION = """
All of this is of the encoder's features, on a few fixed images of the pool.

- *Effective rank* (RankMe) counts the directions that the features use; near 1 is a collapse.
- *Alignment* is the mean squared distance of two views of an image (lower is closer), *uniformity*
  how evenly the features fill the sphere (lower is more evenly). One is only good with the other.
- The two histograms should part: views of one image to the right, views of two images to the left.
- *k-NN* and *linear probe*, where there are any, read labels; no gradient comes from them.
"""
LIMITS = """
- **Not for clinical use.**
- One run is one seed. Differences between runs of different seeds are not seen here.
"""


def report_from_run(
    workdir: str | os.PathLike, out_dir: str | os.PathLike | None = None, *, show: bool = False
) -> Path:
    """Writes report.md, report.html and figures/ for a run, finished or not.

    Args:
        workdir: Holds `metrics.jsonl` and `config.json`.
        out_dir: Folder to write to; `workdir` if None.
        show: Print the table to the terminal as well.

    Returns:
        The HTML page.

    Raises:
        UserError: The folder is no run, or has not made a step.
    """
    workdir = Path(workdir)
    out_dir = workdir if out_dir is None else Path(out_dir)
    history = read_history(workdir / "metrics.jsonl")
    try:
        config = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(
            f"{workdir / 'config.json'} cannot be read ({error}).", "Give the folder of a run."
        ) from error
    guard = read_guard(workdir)
    table = metrics_table(history)
    finished = (workdir / "result.json").is_file()
    step = int(history["step"].max())
    loss = history.dropna(subset="loss")["loss"].iloc[-1]
    # A run that goes on from a checkpoint makes the measurements after it once more.
    histograms = [row for row in read_histograms(workdir / HISTOGRAMS) if row["step"] <= step]
    with stamped(stamp_of([guard])):
        figure = out_dir / "figures" / "training.png"
        training_curve_figure(figure, history, horizon_of(config))
        monitored = monitor_sections(history, histograms, config, out_dir)
    document = Document(
        f"Run {workdir.resolve().name}",
        f"The run {'is finished' if finished else 'is not finished'}: step {step:,}, "
        f"loss {loss:.4g}.",
        (
            Section("Training", "![Loss and learning rate over steps](figures/training.png)"),
            *monitored,
            Section("Metrics", markdown_table(table)),
            *label_sections({"": read_counts(workdir)}),
            run_section(guard),
            Section("How to read this", READING),
            Section("Limits", LIMITS),
            Section(
                "Provenance",
                "".join(f"- {plain(name)} {plain(v)}\n" for name, v in versions().items())
                + "\n(the versions that wrote this page)\n\n"
                + fenced(json.dumps(config, indent=1, ensure_ascii=False), "json"),
            ),
        ),
        {"Metrics": table},
        banner_of([guard]),
    )
    return write_report(out_dir, document, show=show)


def horizon_of(config: dict[str, Any]) -> float | None:
    """When the risk of a run on survival is judged; None of any other run."""
    objective = config.get("objective", {})
    return objective.get("horizon") if objective.get("kind") in _SURVIVAL else None


def monitor_sections(
    history: pd.DataFrame,
    histograms: list[dict[str, Any]],
    config: dict[str, Any],
    out_dir: Path,
) -> tuple[Section, ...]:
    """What the monitor of self-supervision saw; empty for runs without one."""
    if "monitor_rankme" not in history:
        return ()
    monitor_figure(out_dir / "figures" / "monitor.png", history)
    text = "![Rank, alignment and uniformity over steps](figures/monitor.png)\n"
    if histograms:
        similarity_figure(out_dir / "figures" / "similarity.png", histograms)
        text += "\n![Similarities at the start and the end](figures/similarity.png)\n"
    return (Section("Representation", text + REPRESENTATION + monitor_cost(history, config)),)


def monitor_cost(history: pd.DataFrame, config: dict[str, Any]) -> str:
    """A sentence on the time that the monitor took, once it is known; the first time compiles."""
    # A run that was resumed has compiled again, so medians and not sums.
    seconds = history["monitor_seconds"].dropna().iloc[1:]
    steps = history.loc[history["monitor_seconds"].notna(), "step"].diff().iloc[1:]
    rates = history["examples_per_second"].dropna().iloc[1:]
    if seconds.empty or rates.empty:
        return ""
    share = seconds.median() / (steps.max() * config["batch_size"] / rates.median())
    return (
        f"\nA measurement took {seconds.median():.2g} s, that is {percent(share, 2)} of the time "
        f"of the {steps.max():.0f} steps between two.\n"
    )


def read_history(path: Path) -> pd.DataFrame:
    """Reads `metrics.jsonl`.

    Returns:
        One row per line, `step` and whatever was written; blank where a line has no such number.

    Raises:
        UserError: No file, no line with a loss, or a line that is no JSON object with a step.
            The last line may be cut in two: a killed run leaves it so.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}).", "Give the folder of a run.") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if number == len(lines) and not line.endswith("\n"):
            continue
        try:
            row = json.loads(line)
            rows.append({**row, "step": int(row["step"])})
        except (json.JSONDecodeError, TypeError, KeyError) as error:
            raise UserError(
                f"{path}, line {number} is no JSON object with a step.", "Remove the line."
            ) from error
    if not any("loss" in row for row in rows):
        raise UserError(f"{path} has no step with a loss.", "Report when the run has made a step.")
    return pd.DataFrame(rows)


def metrics_table(history: pd.DataFrame) -> pd.DataFrame:
    """First, last, least and greatest value of every metric, over the lines that have it."""
    rows = []
    for name in history.columns.drop("step"):
        values = history[name].dropna().astype(float)
        values = values[values.map(math.isfinite)]
        shown = (
            [f"{v:.4g}" for v in (values.iloc[0], values.iloc[-1], values.min(), values.max())]
            if len(values)
            else ["not finite"] * 4
        )
        headings = ("Metric", "First", "Last", "Least", "Greatest")
        rows.append(dict(zip(headings, (name, *shown), strict=True)))
    return pd.DataFrame(rows, dtype=str)
