"""Durations in steps, epochs, examples or percent, converted in one place.

A duration NAME is written as exactly one of `NAME_steps`, `NAME_epochs`, `NAME_examples`,
`NAME_percent` (the way big_vision's configs read).
"""

from collections.abc import Mapping

from remedis_jax.errors import UserError

UNITS = ("steps", "epochs", "examples", "percent")


def other_units(key: str) -> list[str]:
    """'total_steps' -> ['total_epochs', 'total_examples', 'total_percent']; [] for other keys."""
    name, _, unit = key.rpartition("_")
    return [f"{name}_{other}" for other in UNITS if other != unit] if unit in UNITS else []


def to_steps(
    config: Mapping,
    name: str,
    *,
    batch_size: int,
    num_examples: int,
    total_steps: int | None = None,
    default: int | None = None,
) -> int:
    """Number of optimiser steps that a duration stands for.

    Epochs and examples are rounded to the nearest step and are at least one step if positive.

    Args:
        config: Mapping that holds one of the four keys with a value that is not None.
        name: E.g. "total", "warmup", "checkpoint".
        batch_size: Examples of one step.
        num_examples: Examples of one epoch.
        total_steps: Steps of the whole run, needed for percent.
        default: What to return if none of the keys is set; None means that one is required.

    Raises:
        UserError: None or several of the keys are set, a value is negative, or percent is used
            for the total.
    """
    keys = [f"{name}_{unit}" for unit in UNITS]
    given = {key: config[key] for key in keys if config.get(key) is not None}
    if not given and default is not None:
        return default
    if len(given) != 1:
        raise UserError(
            f"The config sets {' and '.join(given) if given else 'none of ' + ', '.join(keys)}.",
            f"Set exactly one of {', '.join(keys)}.",
        )
    ((key, value),) = given.items()
    if value < 0:
        raise UserError(f"{key} is {value}.", "Use a number that is not negative.")
    if key.endswith("_steps"):
        return int(value)
    if key.endswith("_percent"):
        if total_steps is None:
            raise UserError(f"{key} has nothing to be a share of.", f"Use {name}_steps.")
        return round(total_steps * value / 100)
    examples = value if key.endswith("_examples") else value * num_examples
    return max(round(examples / batch_size), 1 if value else 0)
