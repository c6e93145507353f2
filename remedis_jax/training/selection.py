"""Which parameters become a run's weights, and when there is no point in training on.

Everything is decided by the validation rows, which are of the site that is trained on; see
`api.train`. What has been decided can be read off the run's metrics, so that a run which was
interrupted decides the same.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from ml_collections import ConfigDict

from remedis_jax.errors import RunFailed, UserError
from remedis_jax.training import processes
from remedis_jax.training.metric_writers import write_failure
from remedis_jax.weights.artifact import flatten, unflatten

SELECT = ("last", "best")
_FILE = "best.safetensors"


@dataclasses.dataclass
class Selection:
    """Follows one validation metric through a run.

    Attributes:
        metric: As it stands in the run's metrics, e.g. "validation_auroc".
        lower_is_better: Whether small values are good.
        keep_best: Whether the best parameters are kept in the run's folder.
        patience: Validations without a better value after which the run stops; 0 for never.
        best_step: When the metric was best, None before the first validation. Of equal values the
            first counts.
        best: Its value then.
    """

    metric: str
    lower_is_better: bool
    keep_best: bool
    patience: int
    best_step: int | None = None
    best: float = math.nan
    _since: int = 0

    @classmethod
    def of(cls, config: ConfigDict, lower_is_better: frozenset[str]) -> "Selection | None":
        """What a config asks for; None where the last step is taken, whatever happens.

        Args:
            config: Of the run.
            lower_is_better: Names of metrics of which small values are good.

        Raises:
            UserError: The settings are not possible.
        """
        if config.select not in SELECT:
            raise UserError(f"select is {config.select!r}.", f"Use {' or '.join(SELECT)}.")
        if config.early_stopping < 0:
            raise UserError(f"early_stopping is {config.early_stopping}.", "Use 0 or more.")
        if config.select == "last" and not config.early_stopping:
            return None
        if not config.data.validation:
            raise UserError(
                "select='best' and early_stopping need validation rows.",
                "Set data.validation, e.g. {'split': 'val'}; or select='last', early_stopping=0.",
            )
        metric = config.select_metric or "auroc"
        return cls(
            metric=f"validation_{metric}",
            lower_is_better=metric.partition("/")[0] in lower_is_better,
            keep_best=config.select == "best",
            patience=config.early_stopping,
        )

    @property
    def exhausted(self) -> bool:
        """Whether the run is to stop."""
        return bool(self.patience) and self._since >= self.patience

    def replay(self, metrics: Path, until: int) -> None:
        """Takes in what an interrupted run has written, up to a step."""
        if not metrics.is_file():
            return
        for line in metrics.read_text(encoding="utf-8").splitlines(keepends=True):
            # A kill can cut the last line in two; such a line is of a later step.
            values = json.loads(line) if line.endswith("\n") else {"step": math.inf}
            if values["step"] <= until and self.metric in values:
                self._look(values["step"], values[self.metric])

    def look(self, step: int, values: Mapping[str, float], params: Any, workdir: Path) -> None:
        """Takes in one validation, and keeps the parameters if it is the best.

        Args:
            step: Number of updates made.
            values: The metrics of that validation, without prefix.
            params: That it was made with, on the devices.
            workdir: The run's folder.

        Raises:
            UserError: The metric is not among the values.
            RunFailed: The parameters cannot be written.
        """
        name = self.metric.removeprefix("validation_")
        if name not in values:
            known = ", ".join(sorted(values)) or "nothing"
            raise UserError(
                f"The validation rows give no {name}, which selects; they give {known}.",
                "Choose another select_metric, or validation rows in which every class occurs.",
            )
        if self._look(step, values[name]) and self.keep_best and processes.is_first():
            path = workdir / _FILE
            temporary = path.with_suffix(".tmp")
            try:
                safetensors.numpy.save_file(
                    {k: np.asarray(v) for k, v in flatten(jax.device_get(params)).items()},
                    temporary,
                )
                temporary.replace(path)
            except OSError as error:
                raise write_failure(path, error) from error

    def _look(self, step: int, value: float) -> bool:
        better = self.best_step is None or (
            value < self.best if self.lower_is_better else value > self.best
        )
        if better:
            self.best, self.best_step, self._since = value, step, 0
        else:
            self._since += 1
        return better

    def best_params(self, workdir: Path) -> Any:
        """The parameters of the best validation, as numpy arrays.

        Raises:
            RunFailed: They are gone.
        """
        path = workdir / _FILE
        try:
            return unflatten(safetensors.numpy.load_file(path))
        except (OSError, safetensors.SafetensorError) as error:
            raise RunFailed(
                f"{path}, the parameters of step {self.best_step}, cannot be read ({error}).",
                "Delete the run's folder and begin it anew.",
            ) from error

    def forget(self, workdir: Path) -> None:
        """Deletes what was kept, once the weights are written."""
        (workdir / _FILE).unlink(missing_ok=True)
