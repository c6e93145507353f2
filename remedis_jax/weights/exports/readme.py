"""The README.md of an exported folder: how to load it and what images it wants."""

from collections.abc import Sequence

from remedis_jax.weights.artifact import Artifact
from remedis_jax.weights.contract import Contract


def readme(
    artifact: Artifact,
    contract: Contract,
    code: str,
    *,
    scales: bool,
    notes: Sequence[str] = (),
    keeps_seen: bool = False,
) -> str:
    """Markdown text.

    Args:
        artifact: What was exported.
        contract: Its preprocessing.
        code: Lines of Python that load the folder.
        scales: Whether the exported program itself brings [0, 1] to the network's value range.
        notes: Where the format's own description of the preprocessing departs from the contract.
        keeps_seen: Whether the folder holds the hashes of what the weights have seen.
    """
    card = artifact.card
    encoder, head = card["encoder"], card["head"]
    licence = card.get("licence") or {}
    lines = [
        f"# {encoder['name']} ({card.get('stage', 'unknown origin')})",
        "",
        f"Exported from the artefact `{artifact.sha256}`.",
        f"Licence: {licence.get('name', 'not stated')}. {licence.get('terms') or ''}".rstrip(),
        "",
        "```python",
        code,
        "```",
        "",
        "## What it reads and returns",
        "",
        *(f"- {sentence}" for sentence in contract.sentences()),
    ]
    if scales:
        lines.append("- the program takes values from 0 to 1 and brings them to that range itself")
    if head is not None:
        names = ", ".join(head["classes"][:20]) + (", ..." if len(head["classes"]) > 20 else "")
        exclusive = "which exclude each other" if head["kind"] == "softmax" else "each by itself"
        calibrated = "" if head.get("temperature") is None else "; probabilities are calibrated"
        lines.append(f"- {len(head['classes'])} classes, {exclusive}{calibrated}: {names}")
    if artifact.seen is not None and not keeps_seen:
        lines += [
            "",
            "The hashes of what these weights have seen, by which test data are kept apart from "
            "training data, are not in these files; they stay with the artefact.",
        ]
    if notes:
        lines += ["", "The files here describe the preprocessing as closely as they can; but:", ""]
        lines += [f"- {note}" for note in notes]
    return "\n".join(lines) + "\n"
