"""Configs of tasks and modalities against their goldens: every value, every parameter's treatment.

After a change that is meant: `python -m tests.golden.make_config_golden`, and read the difference.
"""

import pytest

from tests.golden.make_config_golden import CONFIGS, FOLDER, goldens


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_what_its_golden_says(name):
    for file, text in goldens(name).items():
        # Line by line, so that a failure shows the field and not two pages.
        assert text.splitlines() == (FOLDER / file).read_text().splitlines(), file


def test_there_is_no_golden_of_a_config_that_is_gone():
    kept = {path.name for path in FOLDER.iterdir()}
    assert kept == {f"{name}.{kind}" for name in CONFIGS for kind in ("json", "txt")}


def test_goldens_show_what_is_frozen_and_how_rates_fall():
    rows = [line.split() for line in (FOLDER / "finetune_t4_layers.txt").read_text().splitlines()]
    seen = {}
    for name, _, decay, rate, frozen in rows[1:]:
        part = name.split("/")[1] if name.startswith("encoder/") else "head"
        seen.setdefault(part, set()).add((decay == "yes", float(rate), frozen))
    # Decay: all of the encoder that is trained, and nothing of the head (official-code).
    assert seen == {
        "root_block": {(False, 0.0, "yes")},
        "block1": {(False, 0.0, "yes")},
        "block2": {(True, 0.125, "no")},
        "block3": {(True, 0.25, "no")},
        "block4": {(True, 0.5, "no")},
        "group_norm": {(True, 0.5, "no")},
        "head": {(False, 1.0, "no")},
    }
