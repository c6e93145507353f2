"""What a report says of the labels: how many there are, and what the label policy made of them."""

from collections.abc import Mapping
from typing import Any

from remedis_jax.data.label_counts import policy_remarks, policy_table
from remedis_jax.report.document import Section
from remedis_jax.report.tables import markdown_table, plain

HEADING = "Labels"


def label_sections(counts: Mapping[str, Mapping[str, Any] | None]) -> tuple[Section, ...]:
    """One section for each set of labels that something is known of.

    Args:
        counts: What it is called ("" where there is one only) -> `data.label_counts` of it; None
            for nothing.
    """
    sections = []
    for name, found in counts.items():
        if found is None:
            continue
        text = markdown_table(policy_table(found))
        remarks = policy_remarks(found)
        if remarks:
            text += "\n\n" + "\n".join(f"- {plain(remark)}" for remark in remarks)
        sections.append(Section(f"{HEADING}: {name}" if name else HEADING, text))
    return tuple(sections)
