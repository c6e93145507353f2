"""Markdown of a report, rendered to HTML with its figures inside."""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from PIL import Image

# Below this a figure is taken as it is; a drawing of lines has some 60 kB. Ours.
LARGE_FIGURE = 120 * 1024
# Root mean square of 255 that 256 colours may be off: less than a screen shows. Ours.
LARGEST_ERROR = 1.5
# Characters from which on a cell is given room, so that its row does not become a column. Ours.
LONG_CELL = 40
# Stand in the place of the bullet where a list item begins with one: done, partly, open.
MARKS = "●◐○"
# A number with its interval is not broken over two lines: '+0.264 (+0.179 to +0.332)'.
_NUMBER = re.compile("[+\N{MINUS SIGN}<]?[0-9][-0-9.,%()<+\N{MINUS SIGN}\N{EN DASH}×/ to]*")


def to_html(markdown: str, folder: Path) -> str:
    """Renders Markdown; raw HTML in it stays text, its images are put into the page.

    A paragraph that is one image becomes a figure, and a paragraph in italics right after it the
    figure's caption.

    Args:
        markdown: CommonMark with tables.
        folder: What image paths are relative to.
    """
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    renderer.core.ruler.push("figures", _make_figures)

    def image(self, tokens, index, options, env) -> str:
        data = embedded((folder / tokens[index].attrs["src"]).read_bytes())
        source = "data:image/png;base64," + base64.b64encode(data).decode("ascii")
        tokens[index].attrs["src"] = source
        return self.image(tokens, index, options, env)

    def cell(self, tokens, index, options, env) -> str:
        text = tokens[index + 1].content
        if _NUMBER.fullmatch(text):
            tokens[index].attrJoin("class", "number")
        elif len(text) > LONG_CELL:
            tokens[index].attrJoin("class", "long")
        return self.renderToken(tokens, index, options, env)

    def list_item(self, tokens, index, options, env) -> str:
        if tokens[index + 2].content.startswith(tuple(MARKS)):
            tokens[index].attrJoin("class", "marked")
        return self.renderToken(tokens, index, options, env)

    renderer.add_render_rule("image", image)
    renderer.add_render_rule("td_open", cell)
    renderer.add_render_rule("list_item_open", list_item)
    # Wide tables scroll by themselves; a focusable box can be scrolled with the keyboard too.
    renderer.add_render_rule(
        "table_open", lambda *_: '<div class="table" role="region" tabindex="0"><table>\n'
    )
    renderer.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return renderer.render(markdown)


def embedded(png: bytes) -> bytes:
    """The bytes of a figure for the page: of a large one with 256 colours, where that shows not.

    Args:
        png: The figure's file.

    Returns:
        A PNG; `png` itself where it is small, or where 256 colours are too few or no gain.
    """
    if len(png) < LARGE_FIGURE:
        return png
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    reduced = picture.quantize(256, dither=Image.Dither.NONE)
    difference = np.asarray(picture, np.int16) - np.asarray(reduced.convert("RGB"), np.int16)
    if np.sqrt(np.mean(np.square(difference, dtype=np.float64))) > LARGEST_ERROR:
        return png
    stream = io.BytesIO()
    reduced.save(stream, "png", optimize=True)
    return min(stream.getvalue(), png, key=len)


def _make_figures(state: StateCore) -> None:
    """Turns image paragraphs, and captions after them, into figures."""
    tokens = state.tokens
    for index in range(len(tokens) - 2):
        if _inside(tokens[index : index + 3]) != ["image"]:
            continue
        _rename(tokens[index], "figure")
        _rename(tokens[index + 2], "figure")
        caption = tokens[index + 3 : index + 6]
        inside = _inside(caption)
        # `*a* and *b*` is not one stretch of italics: its first one ends before the text does.
        if inside[:1] == ["em_open"] and inside.index("em_close") == len(inside) - 1:
            _rename(caption[0], "figcaption")
            _rename(caption[2], "figcaption")
            caption[1].children = caption[1].children[1:-1]
            tokens[index + 2 : index + 6] = [*caption, tokens[index + 2]]


def _inside(tokens: Sequence[Token]) -> list[str]:
    """The kinds of tokens inside of a paragraph; [] if these three are none."""
    if [t.type for t in tokens] != ["paragraph_open", "inline", "paragraph_close"]:
        return []
    return [child.type for child in tokens[1].children]


def _rename(token: Token, tag: str) -> None:
    token.type, token.tag = token.type.replace("paragraph", tag), tag
