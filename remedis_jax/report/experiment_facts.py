"""What an experiment knows of itself, for the checklist; what it does not know is left out."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from remedis_jax import __version__
from remedis_jax.evaluation.metrics import metrics_of
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.report.checklist_section import Fact
from remedis_jax.report.document import Section
from remedis_jax.report.experiment_results import Results
from remedis_jax.report.wording import metric_name, percent


def facts_of(results: Results, sections: Iterable[Section], sentence: str) -> dict[str, Fact]:
    """Facts for `checklist_section`.

    Args:
        results: The experiment.
        sections: Those that the page has; a fact leads to one only if it is there.
        sentence: The result, in one sentence.
    """
    headings = {section.heading for section in sections}
    record = results.record
    facts: dict[str, Fact] = {
        "code": f"remedis_jax {__version__}, `{record['command'].splitlines()[-1]}`",
        "comparison": "paired differences on the same drawn patients and seeds",
        "inputs": "the images alone",
        "internal_test": (f"the test patients of {record['id_site']}", "Results"),
        "external_test": (
            f"{record['ood_site']}, without any of its labels and with shares of them", "Results",
        ),
        "intervals": ("95% percentile bootstrap over patients and seeds", "How to read this"),
        "limitations": ("", "Limits"),
        "objective": f"what share of {record['ood_site']}'s labels each arm needs",
        "partitions": (
            "training, validation and test of both sites, by the manifest's columns",
            "Participant flow",
        ),
        "performance": ("", "Results"),
        "protocol": ("", "Provenance"),
        "robustness": (
            f"seeds {', '.join(map(str, record['seeds']))}, two sites, shares of labels",
            "Patients and seeds apart",
        ),
        "software": ("", "Provenance"),
        "summary": sentence,
        "technique": "convolutional networks with and without self-supervision, fine-tuned",
        "initialisation": "; ".join(
            f"{arm['label']}: {', then '.join(arm['stages'])}" for arm in record["arms"].values()
        ),
    }  # fmt: skip
    if record["flow"]:
        facts |= {
            "flow": ("", "Participant flow"),
            "sizes": ("", "Participant flow"),
            "exclusions": ("counted with their reasons", "Participant flow"),
        }
    if len(results.rows):
        facts["demographics"] = ("", "Patients and images")
    for key, heading, text in (
        ("calibration", "Calibration", "before and after a temperature from validation"),
        ("subgroups", "Subgroups", ""),
        ("failures", "Failure gallery", "the most confident errors"),
        ("leak_guard", "Leak guard", ""),
        ("accuracy", "Further metrics", ""),
    ):
        if heading in headings:
            facts[key] = (text, heading)
    return facts | _of_selection(record) | _of_runs(results) | _of_config(record)


def _of_selection(record: Mapping[str, Any]) -> dict[str, Fact]:
    chosen = record["selection"]
    facts: dict[str, Fact] = {
        key: chosen[key]
        for key in ("checkpoint", "hyperparameters", "operating_point")
        if key in chosen
    }
    if record["manifests"]:
        names = ", ".join(Path(path).name for path in record["manifests"])
        facts["data_sources"] = (
            f"manifests {names}; sites {record['id_site']} and {record['ood_site']}", "Provenance",
        )  # fmt: skip
    return facts


def _of_runs(results: Results) -> dict[str, Fact]:
    runs = [p.runs for p in results.points.values() if not isinstance(p.runs, NotDefined)]
    if not runs:
        return {}
    first = runs[0].reference
    names = [metric_name(m, results.horizon) for m in metrics_of(first.kind, len(first.classes))]
    of = "the risk of the event" if first.kind == "survival" else (
        f"probabilities of {', '.join(first.classes)}"
    )  # fmt: skip
    by = "mean over a patient's images" if results.record["level"] == "group" else "by image"
    return {
        "metrics": (", ".join(names), "Further metrics"),
        "output": of,
        "prediction": f"{by}; every run by itself, metrics then averaged over seeds",
        "ensemble": "models were not combined",
    }


def _of_config(record: Mapping[str, Any]) -> dict[str, Fact]:
    """What the settings of fine-tuning say, where this project made the runs."""
    tuned = record["config"].get("finetune_id")
    if not isinstance(tuned, dict):
        return {}
    data, model = tuned["data"], tuned["model"]
    steps = next(
        (f"{tuned[key]:g} {key.removeprefix('total_')}" for key in sorted(tuned)
         if key.startswith("total_") and tuned[key] is not None),
        "a number of steps by the size of the data",
    )  # fmt: skip
    group = f"the column {data['group']}" if data["group"] else "the image"
    labels = ", ".join(data["readers"] or data["labels"])
    shares = ", ".join(percent(share) for share in record["fractions"])
    hours = "" if record["hours"] is None else f", {record['hours']:.2g} hours in all"
    return {
        "class_balance": (
            f"loss weights {tuned['objective'].get('class_weighting', 'none')}, examples drawn "
            f"{data['sampling']}"
        ),
        "labels": (
            f"column {labels}; uncertain ones: {data['uncertain']}, empty ones: {data['blank']}"
        ),
        "missing": (
            f"uncertain labels: {data['uncertain']}, empty ones: {data['blank']}; characteristics "
            "without a value are a group of their own"
        ),
        "model": f"BiT ResNet-v2 {model['name']}, stem {model['stem']}",
        "preprocessing": (
            f"{data['channels']} channel(s), {data['size']} pixels, values in "
            f"{model['value_range']}; at evaluation: "
            f"{tuned['augment']['evaluation'].get('crop', 'central crop')}"
        ),
        "quality": "every image was decoded before training; copies and leaks are refused",
        "subsets": f"{shares} of the training patients: nested, by patient, stratified by label",
        "training": (
            f"{steps}, batch {tuned['batch_size']}, {tuned['optimizer']['name']}, augmentation "
            f"{tuned['augment']['recipe']}{hours}",
            "Provenance",
        ),
        "unit": f"{group}: no two parts share one, or nothing would have been trained",
        "updating": "temperature scaling, and fine-tuning on shares of the new site's labels",
    }
