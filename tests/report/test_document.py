import html.parser
import re

import pandas as pd
import pytest

from remedis_jax.errors import RunFailed
from remedis_jax.report.document import Document, Section, write_report

PNG = b"\x89PNG\r\n\x1a\n not a picture, and never looked into"


class Balanced(html.parser.HTMLParser):
    """Fails on tags that are not closed in order; gathers what the page refers to."""

    VOID = {"meta", "img", "br", "hr"}

    def __init__(self):
        super().__init__()
        self.open, self.references = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path) -> str:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_bytes(PNG)
    document = Document(
        "A <b>title</b> & more",
        'The "lead" <script>alert(1)</script>',
        (
            Section("One *heading*", "![seen](figures/a.png)\n\n| a | b |\n|:--|--:|\n| 1 | 2 |"),
            Section("Two", "<script>alert(2)</script>\n\n- **bold**"),
        ),
        {"Printed": pd.DataFrame({"a": ["first"]})},
    )
    assert write_report(tmp_path, document) == tmp_path / "report.html"
    return (tmp_path / "report.html").read_text()


def test_page_is_well_formed_and_refers_to_itself_only(page):
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert all(r.startswith(("data:image/png;base64,", "#s")) for r in parser.references)
    assert len([r for r in parser.references if r.startswith("data:")]) == 1
    assert not re.search(r"https?:|url\(|@import|<script|<link", page)
    assert "default-src 'none'" in page


def test_text_is_escaped_and_markdown_is_rendered(page):
    assert "<h1>A &lt;b&gt;title&lt;/b&gt; &amp; more</h1>" in page
    assert "&lt;script&gt;alert(1)" in page and "&lt;script&gt;alert(2)" in page
    assert "<strong>bold</strong>" in page
    assert '<div class="table" role="region" tabindex="0"><table>' in page
    assert "<h2>One *heading*</h2>" in page


def test_page_fits_phones_and_dark_rooms(page):
    assert 'name="viewport" content="width=device-width' in page
    assert "prefers-color-scheme: dark" in page
    assert "overflow-x: auto" in page


def test_markdown_holds_the_same(page, tmp_path):
    markdown = (tmp_path / "report.md").read_text()
    assert markdown.startswith("# A \\<b\\>title\\</b\\> \\& more\n\n**The ")
    assert "## One \\*heading\\*\n\n![seen](figures/a.png)" in markdown
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figures", "report.html", "report.md"]


def test_tables_are_printed_on_request(tmp_path, capsys):
    document = Document("T", "L", (), {"Printed": pd.DataFrame({"a": ["first"]})})
    write_report(tmp_path, document)
    assert capsys.readouterr().out == ""
    write_report(tmp_path, document, show=True)
    assert "first" in capsys.readouterr().out


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailed, match="report.md could not be written"):
        write_report(tmp_path / "file", Document("T", "L", ()))
