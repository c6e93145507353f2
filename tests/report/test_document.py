import html.parser
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from remedis_jax.errors import RunFailed
from remedis_jax.report import document
from remedis_jax.report.document import Document, Section, anchor, anchors, write_report
from remedis_jax.report.rendered import LARGE_FIGURE, embedded, to_html

PNG = b"\x89PNG\r\n\x1a\n not a picture, and never looked into"
NUMBERS = pd.DataFrame({"class": ["a,b", "ü"], "auroc": [1 / 3, 0.5], "n": [7, None]})


class Balanced(html.parser.HTMLParser):
    """Fails on tags that are not closed in order; gathers what the page refers to."""

    VOID = {"meta", "img", "br", "hr"}

    def __init__(self):
        super().__init__()
        self.open, self.references, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href")]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path) -> str:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_bytes(PNG)
    content = Document(
        "A <b>title</b> & more",
        'The "lead" <script>alert(1)</script>',
        (
            Section("One *heading*", "![seen](figures/a.png)\n\n| a | b |\n|:--|--:|\n| 1 | 2 |"),
            Section(
                "Two", "<script>alert(2)</script>\n\n- **bold**\n\n[first](#one-heading)",
                {"two_numbers": NUMBERS}, folded=True,
            ),
        ),
        {"Printed": pd.DataFrame({"a": ["first"]})},
    )  # fmt: skip
    assert write_report(tmp_path, content) == tmp_path / "report.html"
    return (tmp_path / "report.html").read_text()


def test_page_is_well_formed_and_refers_to_itself_only(page):
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    kinds = [r.partition(",")[0] for r in parser.references if not r.startswith("#")]
    assert kinds == ["data:image/png;base64", "data:text/csv;charset=utf-8;base64"]
    inner = {r[1:] for r in parser.references if r.startswith("#")}
    assert inner == {"one-heading", "two", "contents-of-page"} <= set(parser.ids)
    assert len(set(parser.ids)) == len(parser.ids)
    assert not re.search(r"https?:|url\(|@import|<script|<link", page)
    assert "default-src 'none'" in page and "script-src" not in page


def test_text_is_escaped_and_markdown_is_rendered(page):
    assert "<h1>A &lt;b&gt;title&lt;/b&gt; &amp; more</h1>" in page
    assert "&lt;script&gt;alert(1)" in page and "&lt;script&gt;alert(2)" in page
    assert "<strong>bold</strong>" in page
    assert '<div class="table" role="region" tabindex="0"><table>' in page
    assert "<h2>One *heading*</h2>" in page


def test_page_fits_phones_dark_rooms_and_paper(page):
    assert 'name="viewport" content="width=device-width' in page
    assert "prefers-color-scheme: dark" in page
    assert "overflow-x: auto" in page and "@media print" in page


def test_section_of_secondary_importance_is_folded(page):
    assert page.count("<summary><h2>") == 1 and "<summary><h2>Two</h2>" in page


def test_markdown_holds_the_same(page, tmp_path):
    markdown = (tmp_path / "report.md").read_text()
    assert markdown.startswith("# A \\<b\\>title\\</b\\> \\& more\n\n**The ")
    assert "## One \\*heading\\*\n\n![seen](figures/a.png)" in markdown
    assert markdown.endswith("\n\nNumbers: [two_numbers.csv](tables/two_numbers.csv)\n")
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["figures", "report.html", "report.md", "tables"]


def test_tables_are_written_whole_and_stand_in_the_page(page, tmp_path):
    path = tmp_path / "tables" / "two_numbers.csv"
    assert path.read_bytes().count(b"\n") == 3 and b"\r" not in path.read_bytes()
    pd.testing.assert_frame_equal(pd.read_csv(path), NUMBERS, check_exact=True)
    assert '<a download="two_numbers.csv" href="data:text/csv;charset=utf-8;base64,' in page


def test_large_tables_stay_beside_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(document, "LARGEST_TABLE_INSIDE", 10)
    page = write_report(tmp_path, Document("T", "L", (Section("S", "text", {"n": NUMBERS}),)))
    assert "tables/n.csv (beside this page)" in page.read_text()
    assert "data:" not in page.read_text().partition("<body>")[2]


@pytest.mark.parametrize("stems", [("a", "a"), ("../a",), ("a b",), ("A",), ("",)])
def test_names_of_tables_are_names_of_files(tmp_path, stems):
    sections = tuple(Section(str(i), "", {stem: NUMBERS}) for i, stem in enumerate(stems))
    with pytest.raises(ValueError, match="table"):
        write_report(tmp_path, Document("T", "L", sections))
    assert not list(tmp_path.iterdir())


def test_anchors_are_those_of_github():
    assert anchor(" In distribution, zero-shot (A → B)!") == "in-distribution-zero-shot-a--b"
    assert anchor("?") == "section"
    assert anchors(["Labels", "labels", "Labels", "Other"]) == [
        "labels", "labels-1", "labels-2", "other",
    ]  # fmt: skip


def test_text_in_italics_after_a_figure_is_its_caption(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    image = '<figure><img src="data:image/png;base64,{}" alt="seen" />'
    found = re.sub(r"base64,[^\"]+", "base64,{}", to_html(
        "![seen](a.png)\n\n*By patient, `x`.*\n\nText", tmp_path
    ))  # fmt: skip
    assert found.replace("\n", "") == (
        image + "<figcaption>By patient, <code>x</code>.</figcaption></figure><p>Text</p>"
    )
    for other in ("*one* and *two*", "plain", "**bold**"):
        assert "figcaption" not in to_html(f"![seen](a.png)\n\n{other}", tmp_path)
    assert "<figure>" not in to_html("see ![seen](a.png)", tmp_path)


def test_numbers_in_tables_are_not_broken_over_lines(tmp_path):
    rows = "| a | b |\n|:--|--:|\n| hospital | {} |"
    intervals = ("0.990 (0.973–0.999)", "+0.264 (+0.179 to +0.332)", "37× (24× to 52×)")
    for number in (*intervals, "−1", "<5"):
        found = to_html(rows.format(number), tmp_path)
        assert found.count("number") == found.count('style="text-align:right" class="number"') == 1
    for text in ("not defined (only negatives, n=160)", "1% (4 patients, 10 images)", ""):
        assert "number" not in to_html(rows.format(text), tmp_path)
    reason = rows.format("a reason of a few more words than fit on it")
    assert 'class="long"' in to_html(reason, tmp_path)


def test_marks_take_the_place_of_bullets(tmp_path):
    found = to_html("- ○ open\n- plain\n-\n", tmp_path)
    assert found.count("<li") == 3 and found.count('<li class="marked">') == 1


def test_large_figures_are_reduced_only_where_it_does_not_show():
    def saved(pixels) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(stream, "png")
        return stream.getvalue()

    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (200, 3))
    few, many = saved(colours[rng.integers(0, 200, (500, 500))]), saved(
        rng.integers(0, 256, (500, 500, 3))
    )
    assert min(len(few), len(many)) > LARGE_FIGURE
    with Image.open(io.BytesIO(embedded(few))) as reduced, Image.open(io.BytesIO(few)) as whole:
        difference = np.subtract(reduced.convert("RGB"), whole, dtype=np.int16)
        assert np.abs(difference).mean() < 1.5 and len(embedded(few)) < 0.9 * len(few)
    assert embedded(many) == many
    assert embedded(PNG) == PNG


def test_tables_are_printed_on_request(tmp_path, capsys):
    content = Document("T", "L", (), {"Printed": pd.DataFrame({"a": ["first"]})})
    write_report(tmp_path, content)
    assert capsys.readouterr().out == ""
    write_report(tmp_path, content, show=True)
    assert "first" in capsys.readouterr().out


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailed, match="report.md could not be written"):
        write_report(tmp_path / "file", Document("T", "L", ()))
