import pytest
from PIL import Image

from remedis_jax.report import flow_figure as drawn
from remedis_jax.report.figures import stamped
from remedis_jax.report.flow_section import STEM, flow_section

LONG = "the eye clinic of a university hospital with a long name, training"
FLOW = [
    {
        "part": "a training", "manifest": "/data/labelled.csv", "rows": 1234, "images": 1200,
        "patients": 400, "excluded": {"without label": 20, "image cannot be used": 14},
    },
    {
        "part": LONG, "manifest": "other.csv", "rows": 10, "images": 7, "patients": 1,
        "excluded": {"near duplicate": 2, "no patient": 0},
    },
]  # fmt: skip


def test_every_row_is_counted_with_its_reason(tmp_path):
    section = flow_section(FLOW, tmp_path)
    lines = section.markdown.splitlines()
    assert (
        "| a training | 1,234 | without label: 20; image cannot be used: 14 | 1,200 | 400 "
        "| labelled.csv |"
    ) in lines
    # What the record does not explain is not swallowed.
    assert f"| {LONG} | 10 | near duplicate: 2; no stated reason: 1 | 7 | 1 | other.csv |" in lines
    table = section.tables[STEM]
    for part, counts in table.groupby("part"):
        n = counts.groupby("counted")["n"].sum()
        assert n["rows"] == n["left out"] + n["images used"], part
    assert "no patient" not in section.markdown
    for suffix in ("png", "svg"):
        assert (tmp_path / "figures" / f"{STEM}.{suffix}").is_file()


def test_disagreements_and_parts_without_a_flow_are_said(tmp_path):
    counts = {
        "simclr": {"patients": 5000, "images": 12_000},
        "a training": {"patients": 399, "images": 1200},
    }
    surplus = [{**FLOW[1], "images": 11}]
    text = flow_section([FLOW[0], *surplus], tmp_path, counts).markdown
    assert "| simclr | not recorded | not recorded | 12,000 | 5,000 | not recorded |" in text
    assert "Of a training, 1,200 images of 399 patients are counted elsewhere" in text
    assert f"Of {LONG}, 3 more images are counted than its manifest has rows." in text


def test_old_records_have_no_figure(tmp_path):
    section = flow_section([], tmp_path, {"a": {"patients": 2, "images": 3}})
    assert "| a | not recorded |" in section.markdown and "![" not in section.markdown
    assert flow_section([], tmp_path).markdown == "Not recorded."
    assert not list(tmp_path.iterdir())


@pytest.fixture
def kept(monkeypatch) -> list:
    saved = []
    save = drawn.save_figure
    monkeypatch.setattr(drawn, "save_figure", lambda f, path: saved.append(f) or save(f, path))
    return saved


def test_words_stay_inside_of_their_boxes_and_off_the_stamp(tmp_path, kept):
    with stamped("LEAKED DATA"):
        flow_section(FLOW, tmp_path)
    (figure,) = kept
    (axes,) = figure.axes
    texts = [t for t in axes.texts if t.get_text()]
    boxes = [patch.get_window_extent() for patch in axes.patches]
    assert len(boxes) == 6
    for text in texts:
        x0, y0, x1, y1 = text.get_window_extent().extents
        assert any(
            box.x0 <= x0 and x1 <= box.x1 and box.y0 <= y0 and y1 <= box.y1 for box in boxes
        ), text.get_text()
    for a, b in zip(boxes, boxes[1:]):
        assert a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
    assert figure._suptitle.get_window_extent().y0 > max(box.y1 for box in boxes)
    with Image.open(tmp_path / "figures" / f"{STEM}.png") as image:
        assert image.width == 1350
