"""The predictions of a final cell on its test sets, behind the leak guard."""

import json
import re
from pathlib import Path

from ml_collections import ConfigDict

from remedis_jax.errors import UserError
from remedis_jax.sweeps.cells import Cell, CellFolder

PREDICTIONS = "predictions.csv"


def predict_tests(cell: Cell, folder: CellFolder) -> dict[str, str]:
    """Predicts every test set of a cell with the weights of its run.

    Args:
        cell: A final cell whose run is finished.
        folder: Its folder; `tests/NAME/` are made in it, each with `predictions.csv`,
            `leak_guard.json`, `bad_images.csv` and `weights.json`.

    Returns:
        Name of the test set -> predictions file, relative to the folder.

    Raises:
        UserError: The rows cannot be used, or the weights have seen them.
    """
    from remedis_jax.data.dataset import open_evaluation, open_rows
    from remedis_jax.data.labels import LabelSpec
    from remedis_jax.evaluation.guard import Rules, guard
    from remedis_jax.evaluation.predict import predictions_of
    from remedis_jax.evaluation.predictions import write_predictions
    from remedis_jax.training.config import load_config
    from remedis_jax.training.sharding import make_mesh
    from remedis_jax.weights.artifact import load_artifact

    config = load_config(cell.config, cell.overrides)
    artifact = load_artifact(folder.sweep / cell.run)
    head = artifact.card["head"]
    mesh = make_mesh(config.devices or None)
    written = {}
    for name, test in cell.tests:
        place = Path("tests") / folder_name(name)
        target = folder.path / place
        target.mkdir(parents=True, exist_ok=True)
        data = _data_of(config, name, test)
        spec = LabelSpec.of(head["kind"], head["classes"], data.labels, data.readers)
        where = dict(test.get("where") or {})
        what = f"the rows of the test set {name!r}"
        guarded = guard(artifact, open_rows(data, where), Rules.of(data), what=what)
        guarded.write(target)
        rows = open_evaluation(data, spec, where, guarded.skip)
        write_predictions(target / PREDICTIONS, predictions_of(artifact, rows, mesh))
        weights = {"path": cell.run, "sha256": artifact.sha256}
        (target / "weights.json").write_text(json.dumps(weights) + "\n", encoding="utf-8")
        written[name] = str(place / PREDICTIONS)
    return written


def folder_name(test: str) -> str:
    """'in distribution' -> 'in_distribution'."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", test)


def _data_of(config: ConfigDict, name: str, test) -> ConfigDict:
    """The `data` section of a run, for the manifest and the columns of a test set."""
    data = config.copy_and_resolve_references().data
    data.manifest = test.get("manifest") or data.manifest
    for role, column in (test.get("columns") or {}).items():
        if role not in ("image", "group", "labels", "site", "split", "case", "view"):
            raise UserError(
                f"Test set {name!r}: there is no column role {role!r}.",
                "Use image, group, labels, site, split, case or view.",
            )
        data[role] = tuple(column) if role == "labels" else column
    return data
