"""Whether labelled examples can tell good predictions from bad ones, asked before a long run."""

import numpy as np

from remedis_jax.data.labels import LabelSpec
from remedis_jax.errors import UserError

_REMEDY = "Enlarge or redraw the split (remedis split stratifies by label), or select nothing."


def require_scorable(
    labels: np.ndarray, spec: LabelSpec, what: str, *, horizon: float | None = None
) -> None:
    """Refuses examples on which a metric would not be defined.

    Args:
        labels: As from `data.labels.encode_labels`, one row for each example.
        spec: What they mean.
        what: What the examples are called in the message.
        horizon: Of survival, in the unit of the times.

    Raises:
        UserError: Every example is of one class; or no finding has both present and absent ones;
            or nobody had the event up to the horizon, or nobody was followed beyond it.
    """
    n = len(labels)
    if spec.kind == "survival":
        events = int(((labels[:, 0] <= horizon) & (labels[:, 1] == 1)).sum())
        beyond = int((labels[:, 0] > horizon).sum())
        if not events or not beyond:
            raise UserError(
                f"{what}: of {n:,} examples {events:,} had the event up to {horizon:g} and "
                f"{beyond:,} were followed beyond it; both are needed.",
                _REMEDY,
            )
        return
    if spec.kind == "softmax":
        classes = labels if labels.ndim == 1 else labels.argmax(axis=1)
        found = np.unique(classes)
        if len(found) < 2:
            raise UserError(
                f"{what}: all {n:,} examples are of one class, {spec.classes[int(found[0])]}.",
                _REMEDY,
            )
        return
    present, absent = (labels > 0.5).sum(axis=0), (labels <= 0.5).sum(axis=0)
    if not ((present > 0) & (absent > 0)).any():
        counts = ", ".join(
            f"{name}: {int(p):,} present, {int(a):,} absent"
            for name, p, a in zip(spec.classes, present, absent, strict=True)
        )
        raise UserError(
            f"{what}: no finding has both present and absent examples ({counts}).", _REMEDY
        )
