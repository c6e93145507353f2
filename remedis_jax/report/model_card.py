"""The model card of an artefact: Markdown with the header that Hugging Face reads.

Everything in it comes from the artefact's own card and, where there is one, from the `metrics.json`
of an evaluation of these very weights; nothing of the machine or the day it is written on. The
sections follow Mitchell et al. 2019 ("Model Cards for Model Reporting").
"""

import json
import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from remedis_jax.data.leaks import GUARD_NAME, Guard, read_guard
from remedis_jax.errors import UserError
from remedis_jax.report import card_facts as facts
from remedis_jax.report.card_metrics import (
    Evaluation,
    classes_table,
    read_evaluation,
    remarks,
    resamples,
    results_table,
)
from remedis_jax.report.document import write_text
from remedis_jax.report.leak_section import guard_section
from remedis_jax.report.tables import markdown_table, plain
from remedis_jax.weights.architecture import encoder_spec
from remedis_jax.weights.artifact import FILE_NAME, artifact_path, read_card
from remedis_jax.weights.contract import Contract
from remedis_jax.weights.registry.published import CREDENTIALED

# The names that Hugging Face gives to licences; others are "other" with a name.
_LICENCES = (
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0",
    "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "gpl-3.0", "openrail",
)  # fmt: skip


def write_model_card(
    weights: str | os.PathLike,
    out: str | os.PathLike,
    metrics: str | os.PathLike | None = None,
) -> Path:
    """Writes the model card of an artefact.

    Args:
        weights: A weights file, or the folder of a finished run.
        out: The Markdown file to write, e.g. `README.md` or `model_card.md`.
        metrics: The `metrics.json` of `remedis evaluate` with these weights, or None. The
            `leak_guard.json` beside it is read too, as is that of the run.

    Returns:
        `out`.

    Raises:
        UserError: The weights or the metrics cannot be read, or the metrics are of other weights.
        RunFailed: It cannot be written.
    """
    text = model_card(weights, metrics)
    write_text(Path(out), text)
    return Path(out)


def model_card(
    weights: str | os.PathLike, metrics: str | os.PathLike | None = None
) -> str:
    """The text of the model card; see `write_model_card`."""
    path = artifact_path(Path(weights))
    card, sha256 = read_card(path)
    evaluation = None if metrics is None else read_evaluation(Path(metrics), sha256)
    guard = None if metrics is None else _guard_of(Path(metrics).parent, sha256)
    # A run's folder has a file of this name; elsewhere a guard beside weights is of something else.
    run = _guard_of(path.parent, sha256, "the run") if path.name == FILE_NAME else None
    try:
        values = _values(card, sha256, path.name, evaluation)
        values |= _leak_guard(card, evaluation, guard, run)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path}: its card is incomplete, so no model card can be made of it ({error!r}).",
            "Make the artefact again.",
        ) from error
    template = resources.files("remedis_jax.report").joinpath("templates/model_card.md")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(template.read_text(encoding="utf-8")).render(values)
    # A class or a site may hold what steers a terminal.
    page = "".join(c for c in page if c == "\n" or c.isprintable())
    return re.sub(r"\n{3,}", "\n\n", page).strip() + "\n"


def _values(
    card: Mapping[str, Any], sha256: str, file_name: str, evaluation: Evaluation | None
) -> dict[str, Any]:
    """What the template is filled with; everything in it is Markdown already."""
    spec, head = encoder_spec(card), card["head"]
    contract = Contract.from_json(card["preprocessing"])
    has_head = head is not None
    survival = has_head and head["kind"] == "survival"
    return {
        "header": _header(card, spec.name),
        "title": f"{spec.name}, {facts.stage_words(card['stage'])}",
        "has_classifier": has_head,
        "survival": plain(facts.survival_words(head)) if survival else "",
        "classes": ", ".join(plain(name) for name in head["classes"][:5]) if has_head else "",
        "class_count": len(head["classes"]) if has_head else 0,
        "output_dim": spec.output_dim,
        "use": plain(card.get("use") or "research only, not for clinical use"),
        "architecture": facts.architecture_lines(card),
        "preprocessing": [plain(sentence) for sentence in contract.sentences()],
        "data": facts.data_lines(card),
        "lineage": facts.lineage_lines(card, sha256),
        "provenance": facts.provenance_lines(card),
        "trained_here": facts.is_trained_here(card),
        "training": facts.training_lines(card),
        "results": None if evaluation is None else markdown_table(results_table(evaluation)),
        "class_results": _class_results(evaluation),
        "resamples": 0 if evaluation is None else resamples(evaluation),
        "remarks": [] if evaluation is None else [plain(line) for line in remarks(evaluation)],
        "verified": evaluation is not None and evaluation.verified,
        "calibration": facts.calibration_line(head),
        "limitations": [*facts.limitations(card), *_missing_evaluation(card, evaluation)],
        "licence": facts.licence_lines(card),
        "versions": [
            f"{plain(name)} {plain(version)}"
            for name, version in sorted((card.get("versions") or {}).items())
        ],
        # It stands in code, where nothing is markup but its own end.
        "file_name": re.sub(r"[`\s\"\\]", "_", file_name),
        "sha256": sha256,
    }


def _guard_of(folder: Path, sha256: str, whose: str = "the metrics") -> Guard | None:
    """The leak guard of a folder; raises UserError where it is of other weights."""
    guard = read_guard(folder)
    if guard is not None and guard.weights not in (None, sha256):
        if whose == "the run":
            # Somebody has evaluated other weights in the folder of this run.
            return None
        raise UserError(
            f"{folder / GUARD_NAME} is of weights with the hash {guard.weights}, and these have"
            f" {sha256}.",
            "Give the metrics of these weights, or evaluate them.",
        )
    return guard


def _leak_guard(
    card: Mapping[str, Any],
    evaluation: Evaluation | None,
    guard: Guard | None,
    run: Guard | None,
) -> dict[str, Any]:
    """What the template says of leaks: a banner, and lines."""
    lines = facts.seen_lines(card)
    stamps = [found.findings.stamp() for found in (guard, run) if found is not None]
    stamps.append(facts.leakage(card))
    if evaluation is not None:
        lines.append(guard_section({"": guard}).markdown)
    banner = " ".join(dict.fromkeys(stamp for stamp in stamps if stamp))
    return {"banner": plain(banner), "leak_guard": lines}


def _class_results(evaluation: Evaluation | None) -> str:
    table = None if evaluation is None else classes_table(evaluation)
    return "" if table is None or table.empty else markdown_table(table)


def _missing_evaluation(card: Mapping[str, Any], evaluation: Evaluation | None) -> list[str]:
    """What nobody has measured, as far as this card knows."""
    if evaluation is None:
        return [
            "No evaluation is given here: this card says nothing of how well these weights do, on "
            "their own site or on another."
        ]
    trained = facts.training_sites(card)
    if not evaluation.sites:
        return [
            "The evaluation names no sites, so it cannot be told whether any of it is on a site "
            "other than those of the training."
        ]
    if trained is None:
        return [
            "The sites of the training are not recorded, so it cannot be told which part of the "
            "evaluation is out of distribution."
        ]
    if evaluation.sites <= set(trained):
        return [
            "No evaluation on a site other than those of the training is given: performance out "
            "of distribution is unknown."
        ]
    return []


def _header(card: Mapping[str, Any], network: str) -> str:
    """The YAML that Hugging Face reads at the head of a README.md."""
    stage = str(card["stage"])
    tags = ["medical-imaging", "remedis", "bit", network, "jax"]
    if facts.is_trained_here(card):
        tags.append("supervised" if stage == "supervised" else "self-supervised")
    task = "image-feature-extraction" if card["head"] is None else "image-classification"
    entries = _licence_entries(card) | {
        "library_name": "remedis_jax",
        "pipeline_tag": task,
        "tags": tags,
    }
    # JSON values are YAML values.
    return "\n".join(f"{name}: {json.dumps(value)}" for name, value in entries.items())


def _licence_entries(card: Mapping[str, Any]) -> dict[str, str]:
    if facts.is_credentialed(card):
        return {
            "license": "other",
            "license_name": "physionet-credentialed",
            "license_link": CREDENTIALED.link,
        }
    names = facts.licence_names([card.get("licence")])
    if not names or names[0].startswith(("not stated", "not known")):
        return {"license": "unknown"}
    if names[0].lower() in _LICENCES:
        return {"license": names[0].lower()}
    slug = re.sub(r"[^a-z0-9.]+", "-", names[0].lower()).strip("-.")
    return {"license": "other", "license_name": slug[:60] or "see-below"}
