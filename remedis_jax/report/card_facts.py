"""What an artefact's card says, as lines of a model card, and what follows from it.

What a card does not hold is called "not recorded" where a reader would ask for it, and left out
elsewhere. Text that a user has chosen (classes, sites, licences) is shown as it is, without markup.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from remedis_jax.data.leak_parts import UNKNOWN_WEIGHTS
from remedis_jax.data.leaks import STAMP
from remedis_jax.models.case_head import case_head_shapes, head_spec
from remedis_jax.report.tables import plain
from remedis_jax.report.wording import percent
from remedis_jax.weights.architecture import encoder_shapes, encoder_spec
from remedis_jax.weights.registry.published import CREDENTIALED

_SHOWN_CLASSES = 50
_STAGES = {
    "supervised": "supervised training",
    "import:bit": "a published BiT .npz, imported",
    "import:remedis": "a REMEDIS SavedModel, imported",
    "import:timm": "a timm state dict, imported",
    "import:hf": "a Hugging Face state dict, imported",
}
# Fields of a config that say how it was trained; paths and names of files are left out.
_TRAINING = (
    "stage", "objective", "batch_size", "optimizer", "schedule", "total_epochs", "total_steps",
    "total_examples", "warmup_epochs", "warmup_steps", "warmup_examples", "warmup_percent",
    "ema_decay", "augment", "init_parts", "dont_load", "seed",
)  # fmt: skip


def stage_words(stage: str) -> str:
    """How weights came to be: "simclr" -> "self-supervision by simclr"."""
    if stage in _STAGES:
        return _STAGES[stage]
    if stage.startswith("import:"):
        return f"{plain(stage.removeprefix('import:'))} weights, imported"
    return f"self-supervision by {plain(stage)}"


def is_trained_here(card: Mapping[str, Any]) -> bool:
    """Whether the weights come from training and not from an import."""
    return not str(card["stage"]).startswith("import:")


def code(text: object) -> str:
    """A hash or a number in the type of code."""
    return "`" + str(text).replace("`", "'") + "`"


def architecture_lines(card: Mapping[str, Any]) -> list[str]:
    """The network, its size and what comes out of it."""
    spec, head = encoder_spec(card), card["head"]
    count = sum(math.prod(shape) for shape in encoder_shapes(spec).values())
    lines = [
        f"{spec.name}: BiT ResNet-v2 with GroupNorm and weight-standardised convolutions, stem "
        f"{spec.stem}",
        f"{count:,} parameters in the encoder",
        f"{spec.output_dim:,} features an image: the mean over positions "
        + ("after the last GroupNorm and ReLU" if spec.final_norm else
           "of the last block, which no norm follows"),
        f"convolutions in {spec.compute_dtype}",
    ]  # fmt: skip
    if head is None:
        return [*lines, "no classifier"]
    return [*lines, *_head_lines(head, spec.output_dim)]


def survival_words(head: Mapping[str, Any]) -> str:
    """What the output of a model of survival is."""
    survival = head["survival"]
    horizon = f"{survival['horizon']:g} in the unit of the time column"
    if survival["model"] == "cox":
        return f"the log of a relative hazard (Cox); it is judged at {horizon}"
    ends = ", ".join(f"{end:g}" for end in survival["intervals"])
    return (
        f"the probability of the event up to {horizon}, from logistic hazards of the intervals"
        f" that end at {ends}"
    )


def _head_lines(head: Mapping[str, Any], features: int) -> list[str]:
    spec = head_spec(head)
    numbers = sum(math.prod(shape) for shape in case_head_shapes(spec, features).values())
    layers = "a linear layer" if spec.layers == "linear" else (
        f"a network with one hidden layer of {spec.hidden:,}"
    )  # fmt: skip
    pooled = [] if spec.pooling == "none" else [
        f"the images of a case become one by {spec.pooling}, before the layers below"
    ]  # fmt: skip
    if head["kind"] == "survival":
        return [
            *pooled, f"{layers} with {numbers:,} parameters; it gives {survival_words(head)}",
        ]  # fmt: skip
    classes = head["classes"]
    names = ", ".join(plain(name) for name in classes[:_SHOWN_CLASSES])
    more = f", and {len(classes) - _SHOWN_CLASSES:,} more" if len(classes) > _SHOWN_CLASSES else ""
    what = "one of" if head["kind"] == "softmax" else "each by itself (sigmoid) of"
    name = "a linear classifier" if spec.layers == "linear" else f"{layers}, a classifier"
    return [
        *pooled,
        f"{name} with {numbers:,} parameters; it gives probabilities of {what} "
        f"{len(classes):,} classes: {names}{more}",
    ]


def data_lines(card: Mapping[str, Any]) -> list[str]:
    """What the weights were trained on, as far as it is recorded."""
    if not is_trained_here(card):
        trained_on = _source(card).get("trained_on")
        return [
            "Not trained with this project."
            + (f" Published as: {plain(trained_on)}." if trained_on else
               " What they were trained on is not recorded; ask those who published them.")
        ]  # fmt: skip
    lineage, data = card["lineage"], _config(card, "data")
    lines = [f"manifest with the SHA-256 {code(lineage.get('manifest_sha256', 'not recorded'))}"]
    images, groups = lineage.get("images"), lineage.get("groups")
    counted = "number of images not recorded" if images is None else f"{images:,} images"
    if groups is None:
        lines.append(f"{counted}; number of patients not recorded")
    elif data.get("group"):
        lines.append(f"{counted} of {groups:,} groups (column {plain(data['group'])})")
    else:
        lines.append(f"{counted}; no column names the patients")
    if data.get("train"):
        lines.append("rows with " + ", ".join(_filters(data["train"])))
    if data.get("fraction", 1) != 1:
        lines.append(f"of these, {percent(data['fraction'])} of the patients")
    labels = (card.get("columns") or {}).get("labels")
    if labels and card["head"] is not None:
        lines.append(f"labels from {', '.join(plain(name) for name in labels)}")
    return lines


def lineage_lines(card: Mapping[str, Any], sha256: str) -> list[str]:
    """From these weights back to the first that they come from."""
    lines = [f"these weights: {stage_words(card['stage'])}, {code(sha256)}"]
    if calibrated_from := card["lineage"].get("calibrated_from"):
        lines.append(f"the same before they were calibrated: {code(calibrated_from)}")
    for number, parent in enumerate(ancestors(card), 1):
        licence = "; ".join(licence_names([parent.get("licence")]))
        lines.append(
            f"started from (step {number} back): {stage_words(str(parent.get('stage')))}, "
            f"{code(parent.get('sha256', 'hash not recorded'))}"
            + (f", licence {plain(licence)}" if licence else "")
        )
    if is_trained_here(card) and not list(ancestors(card)):
        lines.append("started from random weights")
    return lines


def seen_lines(card: Mapping[str, Any]) -> list[str]:
    """Of which stages the file carries hashes, by which test data are kept apart from them."""
    stages = card.get("seen")
    if not stages:
        return [
            f"{UNKNOWN_WEIGHTS[0].upper()}{UNKNOWN_WEIGHTS[1:]}, so no test data can be compared"
            " with it."
        ]
    lines = []
    for number, stage in enumerate(stages, 1):
        text = f"stage {number}, {stage_words(stage['stage'])}: "
        if stage["known"]:
            patients = stage["patients"]
            text += f"hashes of {stage['images']:,} images" + (
                ", no column named the patients" if patients is None else
                f" and {patients:,} patients"
            )  # fmt: skip
        else:
            text += "it is not recorded what was seen"
        lines.append(text)
    return lines


def leakage(card: Mapping[str, Any]) -> str:
    """The banner of weights that were trained on test data; "" for others. Plain text."""
    found = [stage for stage in card.get("seen") or () if stage["leakage"]]
    clauses = "; ".join(f"{stage['stage']} ({stage['leakage']})" for stage in found)
    return f"{STAMP} in training: {clauses}." if clauses else ""


def ancestors(card: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The weights that these come from, nearest first."""
    parent = card["lineage"].get("init")
    while isinstance(parent, Mapping):
        yield parent
        parent = parent.get("parent")


def provenance_lines(card: Mapping[str, Any]) -> list[str]:
    """What was recorded of the files that imported weights come from."""
    return _dotted(_source(card))


def training_lines(card: Mapping[str, Any]) -> list[str]:
    """The config that decides the weights, in the order of `training.config`."""
    config = card.get("config") or {}
    of_parents = () if list(ancestors(card)) else ("init_parts", "dont_load")
    lines = _dotted({name: config.get(name) for name in _TRAINING if name not in of_parents})
    steps = card.get("steps")
    return [*([] if steps is None else [f"steps: {steps:,}"]), *lines]


def calibration_line(head: Mapping[str, Any] | None) -> str:
    """Whether the probabilities of a classifier may be read as such."""
    if head is None:
        return "There is no classifier, so there are no probabilities."
    if head["kind"] == "survival":
        return "Temperature scaling is of class probabilities; the risk of survival has none."
    if not head.get("temperature"):
        return "The probabilities are not calibrated."
    line = f"Logits are divided by {head['temperature']:.4g} (temperature scaling)"
    fit = head.get("calibration")
    if not fit:
        return f"{line}; what it was fitted on is not recorded."
    rows = f", rows with {', '.join(_filters(fit['where']))}" if fit.get("where") else ""
    return (
        f"{line}, fitted on {fit['labels']:,} labels of {fit['images']:,} images of "
        f"{fit['groups']:,} groups{rows} (manifest {code(fit['manifest_sha256'])}). Log loss on "
        f"these: {fit['log_loss_before']:.4f} before, {fit['log_loss_after']:.4f} after."
    )


def training_sites(card: Mapping[str, Any]) -> list[str] | None:
    """The sites whose images were trained on; None where the card does not say."""
    recorded = card["lineage"].get("sites")
    if isinstance(recorded, list | tuple | dict):
        return [str(site) for site in recorded]
    data = _config(card, "data")
    chosen = data.get("train", {}).get(data.get("site")) if data.get("site") else None
    return None if chosen is None else [str(site) for site in _listed(chosen)]


def limitations(card: Mapping[str, Any]) -> list[str]:
    """What follows from the card for those who want to rely on the weights."""
    head, data, config = card["head"], _config(card, "data"), card.get("config") or {}
    lines = [
        "Not validated for the care of patients, not cleared by any authority.",
        "On other scanners, hospitals, populations and kinds of images it can fail without any "
        "sign of it; preprocessing other than the one above changes its output without an error.",
        "Differences between groups of patients (sex, age, origin) are not reported here.",
    ]
    sites = training_sites(card)
    if sites is not None and len(sites) == 1:
        lines.append(f"Trained on one site only ({plain(sites[0])}).")
    elif sites is None and is_trained_here(card):
        lines.append("It is not recorded from how many sites the training images come.")
    if data.get("fraction", 1) != 1:
        lines.append(f"Trained on {percent(data['fraction'])} of the patients that there were.")
    if is_trained_here(card) and not data.get("group"):
        lines.append(
            "No column named the patients, so nothing kept images of one patient together."
        )
    if monitored := card.get("labels_seen_while_training"):
        labels = ", ".join(plain(name) for name in monitored.get("labels", ()))
        lines.append(
            f"While it was trained without labels, a monitor read the labels {labels} of "
            f"{plain(monitored.get('manifest', 'a manifest'))} for a k-NN and a linear probe. No "
            "gradient came of them; choices made by looking at those numbers did."
        )
    if head is not None and head["kind"] == "survival":
        lines.append(
            "The risk puts patients in an order. That of those with a risk of 0.8 so many have the"
            " event has not been tested."
            if head["survival"]["model"] == "discrete_time"
            else "The risk puts patients in an order; it is no probability."
        )
    elif head is not None and not head.get("temperature"):
        lines.append(
            "The probabilities are not calibrated: among images with p = 0.8 the share of "
            "positives may be far from 80%."
        )
    if "seed" in config:
        lines.append(f"One training run (seed {config['seed']}); other seeds give other weights.")
    return lines


def licence_lines(card: Mapping[str, Any]) -> list[str]:
    """The terms of the weights and of those that they come from."""
    names = licence_names([card.get("licence")])
    inherited = [
        name
        for parent in ancestors(card)
        for name in licence_names([parent.get("licence")])
        if name not in names
    ]
    own = names[:1] or ["not recorded"]
    lines = [f"These weights: {plain(own[0])}"]
    for name in dict.fromkeys([*names[1:], *inherited]):
        lines.append(f"Weights that they come from: {plain(name)}")
    for terms in dict.fromkeys(_texts(card.get("licence"), "terms")):
        lines.append(plain(terms))
    if is_credentialed(card):
        lines.append(
            "They are, or come from, weights that PhysioNet gives only to people who have signed "
            "an agreement. **They may not be redistributable**, nor may what is made of them: "
            f"read the agreement before you hand them on ({CREDENTIALED.link})."
        )
    return lines


def licence_names(licences: Sequence[Any]) -> list[str]:
    """Names of licences and of those that they inherit, outermost first."""
    return [name for licence in licences for name in _texts(licence, "name")]


def is_credentialed(card: Mapping[str, Any]) -> bool:
    """Whether these weights, or any that they come from, are PhysioNet's."""
    for entry in (card, *ancestors(card)):
        licence = entry.get("licence")
        # A licence that a user has named says it in words only.
        named = any(
            word in name.lower()
            for name in licence_names([licence])
            for word in ("physionet", "credentialed")
        )
        if named or any(_texts(licence, "credentialed")) or entry["stage"] == "import:remedis":
            return True
    return False


def _texts(licence: Any, key: str) -> Iterator[str]:
    while isinstance(licence, Mapping):
        if licence.get(key):
            yield str(licence[key])
        licence = licence.get("inherited")
    if isinstance(licence, str) and key == "name":
        yield licence


def _source(card: Mapping[str, Any]) -> Mapping[str, Any]:
    return card["lineage"].get("source") or {}


def _config(card: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    return (card.get("config") or {}).get(section) or {}


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _filters(where: Mapping[str, Any]) -> list[str]:
    return [
        f"{plain(column)} = {' or '.join(plain(v) for v in _listed(value))}"
        for column, value in where.items()
    ]


def _dotted(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`a.b: value` for every value that is set, a path reduced to its last part."""
    lines = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            lines += _dotted(value, f"{prefix}{name}.")
        elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
            lines.append(f"{plain(prefix + name)}: {len(value):,} entries in the file's own card")
        elif value not in (None, "", [], ()):
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            if "/" in text and PurePath(text).is_absolute():
                text = PurePath(text).name
            lines.append(f"{plain(prefix + name)}: {plain(text)}")
    return lines
