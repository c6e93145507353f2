"""One line of JSON per step, and the same numbers as TensorBoard event files.

The JSONL file is the source of truth: figures and tables are made from it. TensorBoard files are
written by tensorboardX, which needs no TensorFlow.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

from remedis_jax.errors import RunFailed


class MetricWriter:
    """Appends metrics to `metrics.jsonl` and to event files in `tensorboard/`.

    Args:
        workdir: The run's folder.
        after_step: Lines of later steps are removed first: they were written by a run that was
            killed after its last checkpoint, and are about to be computed again.

        enabled: False in the processes that do not write.

    Raises:
        RunFailed: The file cannot be written.
    """

    def __init__(self, workdir: Path, *, after_step: int, enabled: bool = True):
        self._enabled = enabled
        self.path = Path(workdir) / "metrics.jsonl"
        if not enabled:
            return
        if self.path.is_file():
            self._drop_later_than(after_step)
        try:
            self._file = open(self.path, "a", encoding="utf-8")
            self._events = SummaryWriter(
                str(Path(workdir) / "tensorboard"), purge_step=after_step + 1
            )
        except OSError as error:
            raise write_failure(self.path, error) from error

    def _drop_later_than(self, step: int) -> None:
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True):
            # A kill can cut the last line in two; such a line is of a later step too.
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(kept), encoding="utf-8")
        os.replace(temporary, self.path)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes one line.

        Args:
            step: Number of updates made when the metrics were taken.
            metrics: Finite or non-finite scalars.
        """
        if not self._enabled:
            return
        try:
            self._file.write(json.dumps({"step": step, **metrics}) + "\n")
            self._file.flush()
        except OSError as error:
            raise write_failure(self.path, error) from error
        for name, value in metrics.items():
            self._events.add_scalar(name, value, step)

    def close(self) -> None:
        if not self._enabled:
            return
        self._events.close()
        try:
            self._file.close()
        except OSError as error:
            raise write_failure(self.path, error) from error


def write_failure(path: Path, error: OSError) -> RunFailed:
    """The one-line error for a file that cannot be written."""
    return RunFailed(
        f"{path} could not be written ({error.strerror}).",
        "Free some space or choose another --workdir, then repeat the command.",
    )
