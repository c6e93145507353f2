"""Applying heads to views, with the batch statistics they carry along."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from remedis_jax.models.parameters import initialise
from remedis_jax.objectives.interface import Params


def init_head(head: nn.Module, seed: int, inputs: jax.ShapeDtypeStruct, name: str) -> Params:
    """A head's parameters, as numpy arrays; heads of other names get other values."""
    return initialise(head, seed, inputs, scope=name, only="params", train=True)["params"]


def init_statistics(head: nn.Module, inputs: jax.ShapeDtypeStruct) -> dict[str, Any]:
    """A head's batch statistics before the first step; empty for a head without BatchNorm."""
    created = initialise(head, 0, inputs, only="batch_stats", train=True)
    return created.get("batch_stats", {})


def apply_to_rows(
    head: nn.Module, params: Params, statistics: dict[str, Any], rows: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """Training-mode output of a head for [n, F], and the new statistics."""
    variables = {"params": params}
    if not statistics:
        return head.apply(variables, rows, train=True), statistics
    variables["batch_stats"] = statistics
    out, updates = head.apply(variables, rows, train=True, mutable=["batch_stats"])
    return out, updates["batch_stats"]


def apply_per_view(
    head: nn.Module, params: Params, statistics: dict[str, Any], features: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """A head on each view in turn, so that BatchNorm sees one view's rows at a time.

    Args:
        head: The module.
        params: Its parameters.
        statistics: Its batch statistics; those of the first view are updated by the second.
        features: [B, V, F].

    Returns:
        [B, V, d] and the new statistics.
    """
    outputs = []
    for view in range(features.shape[1]):
        out, statistics = apply_to_rows(head, params, statistics, features[:, view])
        outputs.append(out)
    return jnp.stack(outputs, axis=1), statistics
