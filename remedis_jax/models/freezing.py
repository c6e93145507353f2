"""Which parameters are held still, and how deep in the network each one lies.

The network from below: root, block1 ... block4 (with the last GroupNorm, which follows it), head.
"""

import re
from typing import Any

import jax
from jax import lax

from remedis_jax.errors import UserError

BLOCKS = ("block1", "block2", "block3", "block4")
FREEZE = ("", "root", *BLOCKS, "encoder")
# Path of a parameter of each level, from the head down.
_LEVELS = (
    r"^head/",
    r"^encoder/(block4|group_norm)/",
    r"^encoder/block3/",
    r"^encoder/block2/",
    r"^encoder/block1/",
    r"^encoder/root_block/",
)


def parameter_path(path: tuple) -> str:
    """"encoder/block1/..." of a path from `jax.tree_util.tree_map_with_path`."""
    return "/".join(str(entry.key) for entry in path)


def depth_below_head(path: str) -> int:
    """0 for the head, 1 for block4 and the last GroupNorm, ... 5 for the root.

    Raises:
        ValueError: The parameter belongs to none of these.
    """
    for depth, pattern in enumerate(_LEVELS):
        if re.match(pattern, path):
            return depth
    raise ValueError(f"{path} belongs neither to a BiT encoder nor to a head")


def is_frozen(path: str, freeze: str) -> bool:
    """Whether a parameter is held still.

    Args:
        path: E.g. "encoder/block1/unit01/a/group_norm/gamma".
        freeze: "" for none, "root", "block1" ... "block4" for all up to and with that block, or
            "encoder" for all but the head. The last GroupNorm is frozen by "encoder" alone.

    Raises:
        UserError: There is no such `freeze`.
    """
    if freeze not in FREEZE:
        raise UserError(
            f"freeze is {freeze!r}.", f"Use {', '.join(map(repr, FREEZE))}."
        )
    if not freeze:
        return False
    if freeze == "encoder":
        return path.startswith("encoder/")
    frozen = ("root_block", *BLOCKS[: BLOCKS.index(freeze) + 1 if freeze in BLOCKS else 0])
    return path.startswith(tuple(f"encoder/{part}/" for part in frozen))


def frozen_mask(params: Any, freeze: str) -> Any:
    """Tree of bool: True for parameters that are held still."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: is_frozen(parameter_path(path), freeze), params
    )


def rate_multipliers(params: Any, freeze: str, layer_decay: float) -> Any:
    """Tree of float: what the learning rate of each parameter is multiplied by.

    `layer_decay` to the power of the depth below the head (as in BEiT's and MAE's fine-tuning, by
    blocks of the ResNet), 0 for what is frozen.
    """

    def multiplier(path, _):
        name = parameter_path(path)
        if is_frozen(name, freeze):
            return 0.0
        return 1.0 if layer_decay == 1 else layer_decay ** depth_below_head(name)

    return jax.tree_util.tree_map_with_path(multiplier, params)


def hold_frozen(params: Any, freeze: str) -> Any:
    """The same values, with no gradient for those that are frozen.

    So the compiler leaves out their backward pass and does not keep what it would need.
    """
    if not freeze:
        return params
    return jax.tree.map(
        lambda value, frozen: lax.stop_gradient(value) if frozen else value,
        params,
        frozen_mask(params, freeze),
    )
