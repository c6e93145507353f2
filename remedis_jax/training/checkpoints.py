"""Checkpoints by Orbax: training state, position in the data, and what made them.

A checkpoint appears under its step's number only when it is complete (Orbax renames a temporary
folder), so a run that is killed while saving goes on from the one before.
"""

import logging
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from remedis_jax.errors import RunFailed, UserError
from remedis_jax.training.state import TrainState

# When a disk is full, every array that could not be written is reported here once more, with a
# stack trace each; the error itself reaches `_write_failure`.
for _name in ("asyncio", "absl"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class Checkpoints:
    """The checkpoints of one work directory.

    Args:
        folder: Where they lie; created if absent.
        keep: How many of the newest to keep.
        enabled: False for a run that is too short to need any: nothing is saved or restored.
    """

    def __init__(self, folder: Path, *, keep: int, enabled: bool = True):
        self.folder = Path(folder)
        self._manager = None
        if enabled:
            options = ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
            self._manager = ocp.CheckpointManager(self.folder.absolute(), options=options)

    @property
    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return self._manager.latest_step() if self._manager else None

    def save(self, state: TrainState, data_state: dict[str, Any]) -> None:
        """Starts writing in the background; returns when the state has been copied.

        Raises:
            RunFailed: The checkpoint cannot be written, e.g. because the disk is full.
        """
        step = int(state.step)
        if self._manager is None or step == self.latest_step:
            return
        try:
            saved = self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(data_state)
                ),
            )
        except Exception as error:
            raise _write_failure(self.folder, step, error) from error
        if not saved:
            raise RunFailed(f"Orbax refused to save step {step} in {self.folder}.")

    def wait(self) -> None:
        """Blocks until everything is on disk; raises RunFailed if it could not be written."""
        if self._manager is None:
            return
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            raise _write_failure(self.folder, None, error) from error

    def restore(self, target: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest checkpoint, or None if there is none.

        Args:
            target: A state whose leaves have the shapes, dtypes and shardings to restore into.

        Raises:
            UserError: The checkpoint's arrays are not those of the target.
        """
        step = self.latest_step
        if step is None:
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, target)
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore()
                ),
            )
        except (ValueError, KeyError, FileNotFoundError) as error:
            raise UserError(
                f"Checkpoint {self.folder / str(step)} cannot be read "
                f"({str(error).splitlines()[0][:200]}).",
                "Delete that folder to go on from the checkpoint before it.",
            ) from error
        return restored["state"], restored["data"]

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        if self._manager:
            self._manager.close()


def _write_failure(folder: Path, step: int | None, error: Exception) -> RunFailed:
    reason = "No space left on device" if "No space left" in str(error) else str(error)
    what = "A checkpoint" if step is None else f"The checkpoint of step {step}"
    return RunFailed(
        f"{what} could not be written to {folder} ({reason.splitlines()[0][:200]}).",
        "Free some space or choose another --workdir; the last complete checkpoint is intact and "
        "repeating the command goes on from it.",
    )
