import pandas as pd
from markdown_it import MarkdownIt

from remedis_jax.evaluation.bootstrap import Interval
from remedis_jax.evaluation.metrics import NotDefined
from remedis_jax.report.tables import (
    caveats,
    fenced,
    markdown_table,
    plain,
    print_tables,
)

HOSTILE = "<img src=x> ![a](http://x) [b](http://x) *c* `d` e|f _g_ #h\n&amp; ~~i~~ \\"


def test_text_of_users_stays_text():
    frame = pd.DataFrame({"a": [HOSTILE], "b": ["1"]})
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown_table(frame))
    assert html.count("<td") == 2
    for tag in ("<img", "<a ", "<em", "<code", "<h1", "<s>", "<del"):
        assert tag not in html
    shown = "&lt;img src=x&gt; ![a](http://x) [b](http://x) *c* `d` e|f _g_ #h &amp;amp; ~~i~~ \\"
    assert shown in html
    assert plain(1) == "1"


def test_code_blocks_hold_any_back_ticks():
    text = "a\n````\nb"
    html = MarkdownIt("commonmark").render(fenced(text))
    assert html == "<pre><code>a\n````\nb\n</code></pre>\n"


def test_caveats_gather_the_cells_that_they_are_about():
    incomplete = Interval(0.8, 0.7, 0.9, 1000, 120, ("cat",))
    found = caveats({"p": incomplete, "q": incomplete, "r": NotDefined("x"), "s": None})
    assert found == [
        "The average leaves out cat (one label value only): p; q.",
        "12% of the resamples had no value (one class only) and do not count: p; q.",
    ]
    assert caveats({"p": Interval(0.8, 0.7, 0.9, 1000, 0)}) == []


def test_terminal_shows_every_cell_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    cells = [f"cell{i}{'x' * 12}" for i in range(4)]
    print_tables({"[bold]Title": pd.DataFrame([cells], columns=list("abcd"))})
    printed = capsys.readouterr().out
    assert "[bold]Title" in printed and "…" not in printed
    assert printed.count("x") == 48
