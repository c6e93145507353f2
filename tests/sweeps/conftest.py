"""A sweep whose runs take no time: a stand-in for training that leaves what a run leaves."""

import json
from pathlib import Path

import numpy as np
import pytest

from remedis_jax.evaluation.predictions import predictions_table, write_predictions
from remedis_jax.sweeps.grid import Grid
from remedis_jax.sweeps.held_out import folder_name
from remedis_jax.sweeps.running import run_cell
from remedis_jax.training.config import load_config

CONFIG = """
from ml_collections import ConfigDict


def get_config(arg=None):
    config = ConfigDict()
    config.kind = "grid"
    config.base = "experiments/finetune/classify.py:task=phantom,manifest=none.csv"
    config.arms = (("imagenet", "a"), ("simclr", "b"))
    config.axes = (
        ("optimizer.learning_rate", (0.01, 0.1)), ("optimizer.weight_decay", (0.0, 1e-4)),
    )
    config.seeds = (3, 4)
    config.tests = (("in distribution", {"where": {"split": "test"}}),)
    return config
"""


class StandIn:
    """Trains in no time.

    Attributes:
        trained: Overrides of each run, in their order.
        trouble: What a run raises, by a text in its overrides.
        scores: Validation score by a text in the overrides; 0.5 for others.
    """

    def __init__(self):
        self.trained = []
        self.trouble = {}
        self.scores = {}

    def train(self, config, workdir, *, overrides, announce):
        workdir = Path(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        text = " ".join(overrides)
        for part, error in list(self.trouble.items()):
            if part in text:
                raise error
        if not (workdir / "result.json").is_file():
            self.trained.append(overrides)
        score = next((s for part, s in self.scores.items() if part in text), 0.5)
        rows = [{"step": 6, "loss": 0.1}]
        if score is not None:
            rows.append({"step": 6, "validation_auroc": score})
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (workdir / "metrics.jsonl").write_text(lines)
        (workdir / "result.json").write_text(json.dumps({"steps": 6, "seconds": 0.25}))

    def test(self, cell, folder):
        """Predictions of 40 patients that are the better the later the arm's name."""
        generator = np.random.default_rng(cell.seed)
        y = np.arange(40) % 2
        better = 2.0 if cell.arm == "simclr" else 0.5
        p = 1 / (1 + np.exp(-generator.normal(better * (2 * y - 1))))
        names = [f"patient{i}" for i in range(40)]
        table = predictions_table(
            "softmax", ("absent", "present"), images=names, groups=names, site="", split="",
            y=y, p=np.stack([1 - p, p], axis=1),
        )  # fmt: skip
        written = {}
        for name, _ in cell.tests:
            path = Path("tests") / folder_name(name) / "predictions.csv"
            (folder.path / path).parent.mkdir(parents=True, exist_ok=True)
            write_predictions(folder.path / path, table)
            written[name] = str(path)
        return written

    def run(self, folder, *, announce=lambda line: None):
        return run_cell(folder, announce=announce, train=self.train, test=self.test)


@pytest.fixture(scope="session")
def make_stand_in():
    return StandIn


@pytest.fixture
def stand_in():
    return StandIn()


@pytest.fixture(scope="session")
def config_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "sweep_config.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def config(config_file):
    """A sweep's config, unlocked, to change before `Grid.of`."""
    return load_config(str(config_file)).unlock()


@pytest.fixture(scope="session")
def grid(config_file) -> Grid:
    return Grid.of(load_config(str(config_file)))
