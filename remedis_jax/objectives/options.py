"""What the options of the methods may be: one table, since methods share their names.

The losses check their arguments as well, but only once the step is traced, when the data have been
read and the folder of the run is claimed.
"""

from typing import Any

from remedis_jax.errors import UserError

KL_DIRECTIONS = ("forward", "reverse", "symmetric")
KL_STOP_GRADIENTS = ("first", "second", "none")

_CHOICES = {
    "convention": ("sum", "mean"),
    "kl_direction": KL_DIRECTIONS,
    "kl_stop_gradient": KL_STOP_GRADIENTS,
    "target_network": ("ema", "none"),
}

# Lowest value, whether it is allowed itself, highest value.
_RANGES = {
    "temperature": (0, False, None),
    "alpha": (0, True, None),
    "momentum": (0, True, 1),
    "head_layers": (1, True, None),
    "head_dim": (1, True, None),
    "hidden_dim": (0, True, None),
    "queue_size": (1, True, None),
    "off_diagonal_weight": (0, True, None),
    "invariance": (0, True, None),
    "variance": (0, True, None),
    "covariance": (0, True, None),
    "max_logits_mib": (0, False, None),
    "max_gathered_mib": (0, True, None),
}

# Where 0 does not stand for a width of its own.
_NO_ZERO_WIDTH = ("relic", "byol", "moco_v3")


def check_options(method: str, options: dict[str, Any]) -> None:
    """Refuses options that are no choice of the method or out of range.

    Args:
        method: One of `objectives.methods.METHODS`.
        options: The config's `objective`.

    Raises:
        UserError: Naming the option and what it may be.
    """
    for name, value in options.items():
        key = f"objective.{name}"
        if name in _CHOICES and value not in _CHOICES[name]:
            raise UserError(f"{key} is {value!r}.", f"Use {', '.join(_CHOICES[name])}.")
        if name in _RANGES:
            low, inclusive, high = _RANGES[name]
            if name == "hidden_dim" and method in _NO_ZERO_WIDTH:
                low = 1
            # Written so that what is not a number is refused.
            is_high_enough = value >= low if inclusive else value > low
            if not is_high_enough or (high is not None and value > high):
                bound = f"{'at least' if inclusive else 'above'} {low}"
                upper = "" if high is None else f" and at most {high}"
                raise UserError(f"{key} is {value}.", f"Use a number {bound}{upper}.")
        if name == "projector" and (not value or any(width < 1 for width in value)):
            raise UserError(f"{key} is {value}.", "Give the widths of its layers, e.g. (512, 512).")
