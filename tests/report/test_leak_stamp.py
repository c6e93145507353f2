"""Where leakage was allowed, nothing that is written of it can be read without seeing so."""

import json

import numpy as np
import pytest

from remedis_jax.data.inspection import ImageFacts
from remedis_jax.data.leaks import LeakFindings, write_guard
from remedis_jax.data.seen import Seen, compare, compare_facts, remember
from remedis_jax.errors import UserError
from remedis_jax.report.document import Document, write_report
from remedis_jax.report.experiment import report_from_experiment
from remedis_jax.report.model_card import model_card
from remedis_jax.report.page import report_from_predictions, report_from_run
from remedis_jax.weights.artifact import save_artifact
from tests.report.test_model_card import TRAINED, evaluate
from tests.report.test_predictions_report import write
from tests.report.test_run_report import write_run
from tests.weights.conftest import SMALL, make_card, random_params

STAMP = "LEAKAGE ALLOWED"
# As a page of Markdown begins then.
FIRST_LINE = f"> **{STAMP}"


def facts_of(count: int, seed: int) -> list[ImageFacts]:
    bytes_of = np.random.default_rng(seed).bytes
    return [
        ImageFacts(f"{i}.png", i + 2, bytes_of(32).hex(), fingerprint=bytes_of(32))
        for i in range(count)
    ]


POOL, TEST = facts_of(20, 0), facts_of(10, 1)
STAGE = remember("simclr", False, POOL, [f"P{i}" for i in range(20)], salt="a")
LEAKY = compare(Seen((STAGE,)), TEST, ["P3", "<b>P4</b>"])
CLEAN = compare(Seen((STAGE,)), TEST, ["Q1"])
UNKNOWN = compare(None, TEST, None)


def pages(folder) -> tuple[str, str]:
    return (folder / "report.md").read_text(), (folder / "report.html").read_text()


def is_stamped(folder) -> bool:
    """Whether both pages begin with the banner; they agree."""
    markdown, html = pages(folder)
    body = html.partition("<main>")[2].lstrip()
    found = {
        markdown.startswith(FIRST_LINE),
        body.startswith(f'<p class="banner" role="alert">{STAMP}'),
        f"<title>{STAMP}" in html,
    }
    assert len(found) == 1
    return found.pop()


def guard_text(text: str) -> str:
    return text.partition("\n## Leak guard\n")[2].partition("\n## ")[0]


# --- Pages --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("findings", "stamped", "said"),
    [
        (LEAKY, True, "1 group(s) of the evaluation set are also in 'simclr' (training stage 1)"),
        (CLEAN, False, "(10 images and 1 patient) against 20 images and 20 patients seen in 1"),
        (UNKNOWN, False, "because the weights do not say what they have seen"),
        (None, False, "No leak\\_guard.json lies beside it"),
    ],
)
def test_page_of_predictions(tmp_path, findings, stamped, said):
    path = write(tmp_path / "predictions.csv")
    if findings is not None:
        write_guard(tmp_path, findings)
    report_from_predictions([path], tmp_path, resamples=20)
    assert is_stamped(tmp_path) is stamped
    markdown, html = pages(tmp_path)
    assert said in guard_text(markdown)
    assert '<a href="#leak-guard">Leak guard</a>' in html
    assert (STAMP in markdown) is (STAMP in html) is stamped


def test_stamp_follows_the_report_to_another_folder_and_onto_its_figures(tmp_path):
    for name, findings in (("leaky", LEAKY), ("clean", CLEAN)):
        (tmp_path / name).mkdir()
        path = write(tmp_path / name / "predictions.csv")
        write_guard(tmp_path / name, findings, weights="ab" * 32)
        report_from_predictions([path], tmp_path / name / "out", resamples=20)
        assert is_stamped(tmp_path / name / "out") is (name == "leaky")
        # So that a model card with these metrics bears it too.
        copied = json.loads((tmp_path / name / "out" / "leak_guard.json").read_text())
        assert copied["weights"] == "ab" * 32
        assert copied["leakage_allowed"] is (name == "leaky")
    figures = [tmp_path / name / "out/figures/roc.png" for name in ("leaky", "clean")]
    assert figures[0].read_bytes() != figures[1].read_bytes()
    both = [tmp_path / name / "predictions.csv" for name in ("clean", "leaky")]
    report_from_predictions(both, tmp_path / "both", resamples=20)
    assert is_stamped(tmp_path / "both")
    lines = guard_text(pages(tmp_path / "both")[0]).strip().splitlines()
    assert lines[0].startswith("- clean/predictions.csv: Checked")
    assert lines[1].startswith(f"- leaky/predictions.csv: {STAMP}")


def test_a_damaged_guard_is_not_taken_for_none(tmp_path):
    path = write(tmp_path / "predictions.csv")
    (tmp_path / "leak_guard.json").write_text("{}")
    with pytest.raises(UserError, match="leak_guard.json is not what"):
        report_from_predictions([path], tmp_path, resamples=20)


def test_page_of_a_run(tmp_path):
    leaky = compare_facts(POOL, ["P3"], TEST, ["P3"], name="split 'test'")
    write_run(tmp_path)
    for findings, stamped, said in (
        (None, False, "The run has no leak\\_guard.json"),
        (LeakFindings(), False, "nothing to keep the training data apart from"),
        (leaky, True, "1 group(s) of split 'test' are also in the training rows"),
    ):
        if findings is not None:
            write_guard(tmp_path, findings)
        report_from_run(tmp_path)
        assert is_stamped(tmp_path) is stamped
        assert said in guard_text(pages(tmp_path)[0])


def test_page_of_an_experiment(experiment, tmp_path):
    folder = experiment(tmp_path, seeds=(0,))
    write_guard(folder / "cells", CLEAN)
    report_from_experiment(folder, resamples=20)
    assert not is_stamped(folder)
    assert "10 of 10 test predictions share nothing" in guard_text(pages(folder)[0])
    assert "who are never trained on" in pages(folder)[0]
    plain = (folder / "figures" / "label_fractions.png").read_bytes()
    write_guard(folder / "cells", LEAKY)
    report_from_experiment(folder, resamples=20)
    assert is_stamped(folder)
    assert f"{STAMP} in 10 of 10 test predictions" in guard_text(pages(folder)[0])
    assert "never trained on" not in pages(folder)[0]
    assert (folder / "figures" / "label_fractions.png").read_bytes() != plain
    # A stage whose leak was allowed made the encoders of all of them.
    write_guard(folder / "cells", CLEAN)
    (folder / "stages" / "ssl").mkdir(parents=True)
    write_guard(folder / "stages" / "ssl", LEAKY)
    report_from_experiment(folder, resamples=20)
    assert is_stamped(folder)


def test_any_page_can_bear_a_banner_and_markup_in_it_stays_text(tmp_path, capsys):
    write_report(tmp_path, Document("T", "L", (), {}, f"{STAMP}: <script> & *x*"), show=True)
    markdown, html = pages(tmp_path)
    assert markdown.startswith(f"{FIRST_LINE}: \\<script\\> \\& \\*x\\***\n\n# T\n")
    assert f"{STAMP}: &lt;script&gt; &amp; *x*</p>" in html and "<script>" not in html
    assert STAMP in capsys.readouterr().out


# --- Model cards --------------------------------------------------------------------------------
def weights_in(folder, seen=None):
    folder.mkdir()
    path = folder / "weights.safetensors"
    card = make_card(SMALL, 2) | TRAINED
    return path, save_artifact(path, random_params(SMALL, 2), card, seen)


def is_card_stamped(text: str) -> bool:
    return text.split("\n---\n", 1)[1].lstrip().startswith(FIRST_LINE)


def test_model_card_bears_the_stamp_of_its_metrics(tmp_path):
    path, sha256 = weights_in(tmp_path / "run", Seen((STAGE,)))
    metrics = evaluate(tmp_path / "evaluation", sha256)
    text = model_card(path, metrics)
    assert not is_card_stamped(text) and STAMP not in text
    assert "- stage 1, self-supervision by simclr: hashes of 20 images and 20 patients" in text
    assert "No leak\\_guard.json lies beside it" in guard_text(text)
    write_guard(tmp_path / "evaluation", CLEAN, weights=sha256)
    assert "nothing shared" in guard_text(model_card(path, metrics))
    write_guard(tmp_path / "evaluation", LEAKY, weights=sha256)
    assert is_card_stamped(model_card(path, metrics))
    assert not is_card_stamped(model_card(path))
    write_guard(tmp_path / "evaluation", CLEAN, weights="0" * 64)
    with pytest.raises(UserError, match="is of weights with the hash 000"):
        model_card(path, metrics)


def test_model_card_bears_the_stamp_of_its_training(tmp_path):
    leaky = compare_facts(POOL, ["P3"], TEST, ["P3"], name="split 'test'")
    stage = remember("simclr", False, POOL, None, salt="a", leakage=leaky.summary())
    path, sha256 = weights_in(tmp_path / "a", Seen((stage,)))
    assert is_card_stamped(model_card(path))
    assert "in training: simclr (1 group(s) of split 'test'" in model_card(path)
    # And it follows these weights wherever they are evaluated.
    assert compare(Seen((stage,)), facts_of(3, 9), None).stamp().startswith(STAMP)
    # Weights that remember nothing still lie beside what their run found.
    path, sha256 = weights_in(tmp_path / "b")
    assert not is_card_stamped(model_card(path))
    assert "The weights do not say what they have seen" in guard_text(model_card(path))
    write_guard(tmp_path / "b", leaky)
    assert is_card_stamped(model_card(path))
    # Somebody else's evaluation in that folder says nothing of them.
    write_guard(tmp_path / "b", LEAKY, weights="0" * 64)
    assert not is_card_stamped(model_card(path))
