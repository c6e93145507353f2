

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from remedis_jax.evaluation.bootstrap import Interval
from remedis_jax.evaluation.curves import LabelsToMatch, NoCrossing
from remedis_jax.report import figures
from remedis_jax.report.figures import (
    DPI,
    RocCurve,
    id_ood_figure,
    label_fraction_figure,
    roc_figure,
    training_curve_figure,
)

LABELS = {"a": "Supervised", "b": "With self-supervision"}
MANY = (0, 0.01, 0.033, 0.1, 0.2, 0.25, 0.33, 0.5, 0.75, 1.0)


def curve(fractions=MANY) -> pd.DataFrame:
    rows = [
        {"arm": arm, "fraction": f, "n_patients": round(12_000 * f), "mean": m, "low": m - 0.04}
        | {"high": m + 0.04}
        for arm, start in (("a", 0.6), ("b", 0.7))
        for f in fractions
        for m in [start + 0.1 * f**0.5]
    ]
    return pd.DataFrame(rows)


def draw_curve(path, fractions=MANY, crossing=None):
    return label_fraction_figure(
        path,
        curve(fractions),
        LABELS,
        metric_name="AUROC",
        site="Hospital B",
        baseline=Interval(0.75, 0.7, 0.8, 1000, 0),
        baseline_label="Supervised with all labels",
        crossing=crossing,
        crossing_arm="b",
    )


def draw_points(path):
    rows = [
        {"arm": arm, "setting": setting, "value": 0.8, "low": 0.7, "high": 0.9}
        for arm in "ab"
        for setting in ("A", "B")
    ]
    return id_ood_figure(path, pd.DataFrame(rows), LABELS, metric_name="AUROC")


def draw_training(path, steps=300):
    step = np.arange(1, steps + 1)
    history = pd.DataFrame({"step": step, "loss": 5 / step, "learning_rate": 0.1})
    history.loc[3, "loss"] = np.inf
    scores = pd.DataFrame({"step": [steps // 2, steps], "validation_auroc": [0.6, 0.7]})
    return training_curve_figure(path, pd.concat([history, scores], ignore_index=True))


def draw_roc(path):
    y = np.array([0, 1, 0, 1])
    return roc_figure(path, [RocCurve("x", y, np.array([0.1, 0.4, 0.35, 0.8]))])


DRAWINGS = [draw_curve, draw_points, draw_training, draw_roc]


@pytest.fixture
def kept(monkeypatch) -> list:
    """The matplotlib figures that were saved."""
    saved = []
    save = figures.save_figure
    monkeypatch.setattr(figures, "save_figure", lambda f, path: saved.append(f) or save(f, path))
    return saved


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("draw", DRAWINGS)
def test_same_numbers_same_bytes_whatever_the_users_style(tmp_path, draw):
    first = draw(tmp_path / "new" / "first.png")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 20}):
        second = draw(tmp_path / "second.png")
    assert first.read_bytes() == second.read_bytes()
    drawing = first.with_suffix(".svg").read_text()
    assert drawing == second.with_suffix(".svg").read_text()
    assert "<text" in drawing and "dc:date" not in drawing and "dc:creator" not in drawing
    with Image.open(first) as image:
        assert image.info.keys() <= {"dpi"}  # neither a date nor a version
        assert image.width == 7.5 * DPI
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fractions", [MANY, (0, 1.0), (1.0,), (0,), (0.1, 1.0)], ids=str)
def test_tick_labels_do_not_touch(tmp_path, kept, fractions):
    draw_curve(tmp_path / "f.png", fractions)
    (figure,) = kept
    labels = [t for t in figure.axes[0].get_xticklabels() if t.get_visible()]
    boxes = [label.get_window_extent() for label in labels]
    assert all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False))
    texts = [label.get_text() for label in labels]
    assert texts[0].startswith("0%\nzero-shot" if fractions[0] == 0 else f"{fractions[0]:.0%}")
    assert texts[-1].startswith(f"{fractions[-1]:.0%}")
    if fractions == MANY:
        assert 5 <= len(texts) < len(MANY)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.012, "matches the baseline with 1.2% of the labels"),
        (0.08, "matches the baseline with 8% of the labels"),
        (0.95, "matches the baseline with 95% of the labels"),
        (NoCrossing.ALREADY_AT_ZERO, "without labels of this site"),
        (NoCrossing.NEVER_REACHED, "not reached at any measured share"),
    ],
)
def test_crossing_is_said_above_the_data_and_inside_the_figure(tmp_path, kept, value, text):
    draw_curve(tmp_path / "f.png", crossing=LabelsToMatch(value, 0.01, NoCrossing.NEVER_REACHED))
    (figure,) = kept
    (note,) = [t for t in figure.axes[0].texts if "95% interval: 1% to never" in t.get_text()]
    assert text in note.get_text()
    box, axes = note.get_window_extent(), figure.axes[0].get_window_extent()
    assert box.y0 >= axes.y1 and box.y1 <= figure.bbox.y1
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1


def test_legend_is_outside_of_the_data_and_names_everything(tmp_path, kept):
    draw_curve(tmp_path / "f.png")
    (figure,) = kept
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == [
        "Supervised with all labels",
        *LABELS.values(),
    ]
    assert legend.get_window_extent().y1 < figure.axes[0].get_window_extent().y0


def test_points_without_a_value_are_not_drawn(tmp_path, kept):
    blank = curve()
    blank.loc[blank["fraction"] == 0.5, ["mean", "low", "high"]] = np.nan
    label_fraction_figure(tmp_path / "f.png", blank, LABELS, metric_name="AUROC", site="B")
    assert len(kept[0].axes[0].get_xticks()) == len(MANY) - 1


def test_value_outside_of_its_interval_is_drawn(tmp_path):
    """Percentile intervals may do that; a negative error bar would be an error of matplotlib."""
    odd = curve().assign(low=0.9, high=0.95)
    label_fraction_figure(tmp_path / "f.png", odd, LABELS, metric_name="AUROC", site="B")


def test_the_drawing_has_the_layout_of_the_picture(tmp_path, kept):
    draw_curve(tmp_path / "f.png")
    (figure,) = kept
    place = figure.axes[0].get_position().bounds
    figure.savefig(tmp_path / "again.png")
    assert figure.axes[0].get_position().bounds == place
    width = 7.5 * 72
    assert f'width="{width:g}pt"' in (tmp_path / "f.svg").read_text()


def test_series_differ_by_more_than_colour():
    styles = {(i % len(figures.COLOURS), i % len(figures.LINES)) for i in range(28)}
    assert len(styles) == 28
    assert len(set(figures.MARKERS)) == len(figures.COLOURS)


def test_training_panels_hold_what_was_logged(tmp_path, kept):
    draw_training(tmp_path / "f.png")
    draw_training(tmp_path / "g.png", steps=20)
    long, short = kept
    assert [a.get_ylabel() for a in long.axes] == ["loss", "learning rate", "validation score"]
    raw, smooth = long.axes[0].lines
    assert len(raw.get_xdata()) == 299  # the infinite one is not drawn
    assert smooth.get_label() == "mean of 11 lines"
    assert len(short.axes[0].lines) == 1


