"""Scores of a run on its validation rows while it trains."""

from typing import Any

from jax.sharding import Mesh

from remedis_jax.data.dataset import Dataset
from remedis_jax.evaluation.metrics import NotDefined, score
from remedis_jax.evaluation.predict import predict, table_of
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.training.loop import Evaluator


def validation_evaluator(dataset: Dataset, card: dict[str, Any]) -> Evaluator:
    """An evaluator for the training loop: metrics by patient, those that are defined.

    Args:
        dataset: The validation rows.
        card: The card that the run's artefact is going to have.
    """

    def evaluate(params: Any, mesh: Mesh, step: int) -> dict[str, float]:
        table = table_of(dataset, card["head"], predict(params, card, dataset, mesh))
        scores = score(Predictions.from_table(table), level="group")
        return {k: float(v) for k, v in scores.items() if not isinstance(v, NotDefined)}

    return evaluate
