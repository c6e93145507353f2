"""What an overview of several experiments says of each of them."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from remedis_jax.data.dataset import file_sha256
from remedis_jax.hardware import hardware_text
from remedis_jax.report.document import Section
from remedis_jax.report.experiment_tables import results_table
from remedis_jax.report.overview_tables import Task, labelled_savings
from remedis_jax.report.provenance_section import hours_text
from remedis_jax.report.saving_section import saving_sentence
from remedis_jax.report.tables import fenced, markdown_table, plain


def task_section(task: Task, out_dir: Path) -> Section:
    """What an arm saves in one task, its table, and where its own report is.

    Args:
        task: The experiment.
        out_dir: Folder of the overview.
    """
    results = task.results
    record, baseline = results.record, results.labels[results.record["baseline_arm"]]
    sentences = [
        plain(saving_sentence(label, saving, baseline, record["ood_site"]))
        for label, saving in labelled_savings(results).items()
    ]
    page = results.folder / "report.html"
    where = plain(_relative(page, out_dir))
    own = (
        f"Its own report, with everything else: {where}"
        if page.is_file()
        else "It has no report of its own yet; `remedis report` with its folder writes it."
    )
    level = "image" if record["level"] == "image" else "patient"
    tuned = [setting for setting in results.settings if setting[0] == "ood_finetuned"]
    ends = [s for s in results.settings if s not in tuned] + tuned[:1] + tuned[1:][-1:]
    text = [
        f"Trained on {plain(record['id_site'])}, new site {plain(record['ood_site'])}; "
        f"{plain(task.metric)} by {level}, {len(record['seeds'])} seeds; the baseline is "
        f"“{plain(baseline)}”.",
        *sentences,
        markdown_table(results_table(dataclasses.replace(results, settings=tuple(ends)))),
        f"Of the shares the smallest and the largest; all are in curves.csv. {own}",
    ]
    return Section(task.name, "\n\n".join(text))


def notes(tasks: Sequence[Task]) -> str:
    """The experiments' own notes, each once, as lines of a list."""
    by_note: dict[str, list[str]] = {}
    for task in tasks:
        for note in task.results.record["notes"]:
            by_note.setdefault(note, []).append(task.name)
    return "".join(
        f"- {plain(note)}"
        + ("" if len(names) == len(tasks) else f" (of {plain('; '.join(names))})")
        + "\n"
        for note, names in by_note.items()
    )


def provenance(tasks: Sequence[Task], out_dir: Path, resamples: int) -> Section:
    """Commands, versions, hashes, hardware and hours of the experiments.

    Arguments as `overview.document_of`.
    """
    rows, text = [], []
    for task in tasks:
        results = task.results
        record = results.record
        hashes = {
            name: file_sha256(results.folder / name) for name in ("experiment.json", "cells.jsonl")
        }
        rows.append(
            {
                "task": task.name,
                "record": _relative(results.folder / 'experiment.json', out_dir),
                "cells": len(results.cells),
                "seeds": " ".join(str(seed) for seed in record["seeds"]),
                "hours": record["hours"],
                **{f"{name}_sha256": value for name, value in hashes.items()},
            }
        )
        facts = [
            hours_text(record["hours"]),
            hardware_text(record["hardware"]),
            ", ".join(f"{tool} {version}" for tool, version in record["versions"].items()),
        ]
        lines = [plain(fact) for fact in facts if fact]
        lines += [f"{plain(name)} SHA-256 `{value}`" for name, value in hashes.items()]
        text.append(
            f"### {plain(task.name)}\n\n{fenced(record['command'], 'sh')}\n\n"
            + "\n".join(f"- {line}" for line in lines)
        )
    start = (
        f"All intervals are of {resamples:,} resamples. Configs, file hashes and the whole record "
        "of an experiment stand in its own report."
    )
    tables = {"provenance": pd.DataFrame(rows, dtype=object)}
    return Section("Provenance", "\n\n".join([start, *text]), tables, folded=True)


def _relative(path: Path, out_dir: Path) -> str:
    """As seen from the page; of what is far off two names, to tell no machine's folders."""
    seen = Path(os.path.relpath(path.resolve(), out_dir.resolve()))
    if seen.parts[:2] == ("..", ".."):
        return Path(*path.resolve().parts[-2:]).as_posix()
    return seen.as_posix()
