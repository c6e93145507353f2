"""A report as Markdown and as one HTML file that needs nothing else.

The HTML page is the Markdown file rendered, with its figures and tables of numbers inside; it loads
nothing from anywhere, runs nothing, and says so to the browser by a content security policy.
"""

import base64
import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment

from remedis_jax.data.messages import first_few
from remedis_jax.errors import RunFailed
from remedis_jax.report.rendered import to_html
from remedis_jax.report.tables import plain, print_banner, print_tables

FIGURES, TABLES = "figures", "tables"
# Larger tables stay beside the page, so that it stays small enough for a mail. Ours.
LARGEST_TABLE_INSIDE = 256 * 1024
_STEM = re.compile(r"[a-z0-9][a-z0-9_.-]*")


@dataclasses.dataclass(frozen=True, eq=False)
class Section:
    """A heading and what stands under it, in Markdown; text of users goes through `plain`.

    Attributes:
        heading: Plain text.
        markdown: The section's text. Headings inside it start with `###`; a paragraph in italics
            under a figure is its caption; `[text](#anchor)` leads to another section, see `anchor`.
        tables: File stem (lower case, digits, `_`, `-`, `.`) -> table of numbers, written beside
            the page as tables/STEM.csv.
        folded: Of secondary importance; closed on the page until it is clicked on.
    """

    heading: str
    markdown: str
    tables: Mapping[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
    folded: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Document:
    """What a report says.

    Attributes:
        title: Heading of the page, plain text.
        lead: The result in one sentence, plain text.
        sections: In order. Figures are written as `![what is seen](figures/NAME.png)`.
        tables: Title -> table, for the terminal.
        banner: What stands above everything else, plain text; "" for nothing. Of leaked data.
    """

    title: str
    lead: str
    sections: tuple[Section, ...]
    tables: Mapping[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
    banner: str = ""


def anchor(heading: str) -> str:
    """'In distribution, zero-shot' -> 'in-distribution-zero-shot', as GitHub makes them too."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-") or "section"


def write_report(out_dir: str | os.PathLike, content: Document, *, show: bool = False) -> Path:
    """Writes tables/, report.md and report.html, each file whole or not at all.

    Args:
        out_dir: Folder in which the figures already are.
        content: The document.
        show: Print its tables to the terminal as well.

    Returns:
        The HTML page.

    Raises:
        RunFailed: A file cannot be written.
        ValueError: Two tables have one name, or it is none for a file.
    """
    out_dir = Path(out_dir)
    files = csv_files(content.sections)
    for stem, text in files.items():
        write_text(out_dir / TABLES / f"{stem}.csv", text)
    markdown = "\n\n".join(
        ([f"> **{plain(content.banner)}**"] if content.banner else [])
        + [f"# {plain(content.title)}", f"**{plain(content.lead)}**"]
        + [_section_markdown(section) for section in content.sections]
    )
    template = resources.files("remedis_jax.report").joinpath("templates/page.html")
    page = (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(template.read_text(encoding="utf-8"))
        .render(
            title=content.title,
            lead=content.lead,
            banner=content.banner,
            footer=_beside(content.sections),
            sections=[
                {
                    "id": name,
                    "heading": section.heading,
                    "folded": section.folded,
                    "html": to_html(section.markdown, out_dir),
                    "files": [_download(stem, files[stem]) for stem in section.tables],
                }
                for name, section in zip(
                    anchors(s.heading for s in content.sections), content.sections, strict=True
                )
            ],
        )
    )
    html = out_dir / "report.html"
    write_text(out_dir / "report.md", markdown + "\n")
    write_text(html, page)
    if show:
        print_tables(content.tables)
        print_banner(content.banner)
    return html


def anchors(headings: Iterable[str]) -> list[str]:
    """The anchor of every heading; a repeated one is numbered, as GitHub does."""
    seen: dict[str, int] = {}
    names = []
    for heading in headings:
        name = anchor(heading)
        count = seen.get(name, 0)
        seen[name] = count + 1
        names.append(f"{name}-{count}" if count else name)
    return names


def csv_files(sections: Iterable[Section]) -> dict[str, str]:
    """Stem -> text of the CSV file: numbers as they are, the same bytes for the same table.

    Raises:
        ValueError: Two tables have one name, or it is none for a file.
    """
    files: dict[str, str] = {}
    for section in sections:
        for stem, table in section.tables.items():
            if not _STEM.fullmatch(stem):
                raise ValueError(f"{stem!r} is no name of a table's file")
            if stem in files:
                raise ValueError(f"two tables are called {stem!r}")
            files[stem] = table.to_csv(index=False, lineterminator="\n")
    return files


def _beside(sections: Iterable[Section]) -> str:
    """What else the folder holds, for whoever was only sent the page."""
    sections = list(sections)
    also = ["the same text as Markdown (report.md)"]
    if any(f"]({FIGURES}/" in section.markdown for section in sections):
        also.append(f"its figures as PNG and SVG ({FIGURES}/)")
    if any(section.tables for section in sections):
        also.append(f"its tables as CSV ({TABLES}/)")
    return f"This page needs no other file. Beside it were written {first_few(also)}."


def _section_markdown(section: Section) -> str:
    text = f"## {plain(section.heading)}\n\n{section.markdown.strip()}"
    if section.tables:
        links = ", ".join(f"[{stem}.csv]({TABLES}/{stem}.csv)" for stem in section.tables)
        text += f"\n\nNumbers: {links}"
    return text


def _download(stem: str, text: str) -> dict[str, Any]:
    """What the template needs to link a table; without a link where it is not inside."""
    data = text.encode()
    link = ""
    if len(data) <= LARGEST_TABLE_INSIDE:
        link = "data:text/csv;charset=utf-8;base64," + base64.b64encode(data).decode("ascii")
    return {"name": f"{stem}.csv", "place": f"{TABLES}/{stem}.csv", "link": link}


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all; raises RunFailed where it cannot be."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    except OSError as error:
        raise RunFailed(
            f"{path} could not be written ({error.strerror}).",
            "Free some space or choose another folder, then repeat the command.",
        ) from error
