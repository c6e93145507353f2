"""A report as Markdown and as one HTML file that needs nothing else.

The HTML page is the Markdown file rendered, with its figures inside; it loads nothing from
anywhere, and says so to the browser by a content security policy.
"""

import base64
import dataclasses
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import pandas as pd
from jinja2 import Environment
from markdown_it import MarkdownIt

from remedis_jax.errors import RunFailed
from remedis_jax.report.tables import plain, print_banner, print_tables


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and what stands under it, in Markdown; text of users goes through `plain`."""

    heading: str
    markdown: str


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


def write_report(out_dir: str | os.PathLike, content: Document, *, show: bool = False) -> Path:
    """Writes report.md and report.html, each whole or not at all.

    Args:
        out_dir: Folder in which the figures already are.
        content: The document.
        show: Print its tables to the terminal as well.

    Returns:
        The HTML page.

    Raises:
        RunFailed: A file cannot be written.
    """
    out_dir = Path(out_dir)
    markdown = "\n\n".join(
        ([f"> **{plain(content.banner)}**"] if content.banner else [])
        + [f"# {plain(content.title)}", f"**{plain(content.lead)}**"]
        + [f"## {plain(s.heading)}\n\n{s.markdown.strip()}" for s in content.sections]
    )
    template = resources.files("remedis_jax.report").joinpath("templates/page.html")
    page = (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(template.read_text(encoding="utf-8"))
        .render(
            title=content.title,
            lead=content.lead,
            banner=content.banner,
            sections=[
                {"heading": section.heading, "html": to_html(section.markdown, out_dir)}
                for section in content.sections
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


def to_html(markdown: str, folder: Path) -> str:
    """Renders Markdown; raw HTML in it stays text, its images are put into the page.

    Args:
        markdown: CommonMark with tables.
        folder: What image paths are relative to.
    """
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")

    def image(self, tokens, index, options, env) -> str:
        data = (folder / tokens[index].attrs["src"]).read_bytes()
        source = "data:image/png;base64," + base64.b64encode(data).decode("ascii")
        tokens[index].attrs["src"] = source
        return self.image(tokens, index, options, env)

    renderer.add_render_rule("image", image)
    # Wide tables scroll by themselves; a focusable box can be scrolled with the keyboard too.
    renderer.add_render_rule(
        "table_open", lambda *_: '<div class="table" role="region" tabindex="0"><table>\n'
    )
    renderer.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return renderer.render(markdown)


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
