"""LARS of both families, SGD and AdamW, with regular expressions for what they leave out.

Parameter paths are joined by "/", e.g. `encoder/block1/unit01/a/group_norm/gamma`.
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from remedis_jax.errors import UserError
from remedis_jax.models.freezing import frozen_mask, parameter_path, rate_multipliers
from remedis_jax.training.schedules import Schedule

# official-code (google-research/simclr): neither weight decay nor layer adaptation for these.
OFFICIAL_EXCLUDE = r"batch_normalization|bias|^head/"
# The official expression misses the names of GroupNorm in BiT, so REMEDIS decays and adapts its
# gamma and beta: `group_norm="as_official"`. "exclude" adds them to the exclusions.
GROUP_NORM_CHOICES = ("as_official", "exclude")


def regex_mask(params: Any, exclude: str) -> Any:
    """Tree of bool: False where the parameter's path contains a match of `exclude`."""
    pattern = re.compile(exclude)
    return jax.tree_util.tree_map_with_path(
        lambda path, _: pattern.search(parameter_path(path)) is None, params
    )


def exclusion_regex(exclude: str, group_norm: str) -> str:
    """Adds GroupNorm's parameters to an exclusion, or leaves them in as the official code does.

    Raises:
        UserError: `group_norm` is none of `GROUP_NORM_CHOICES`.
    """
    if group_norm not in GROUP_NORM_CHOICES:
        raise UserError(
            f"optimizer.group_norm is {group_norm!r}.", f"Use {' or '.join(GROUP_NORM_CHOICES)}."
        )
    return exclude if group_norm == "as_official" else f"{exclude}|group_norm"


def make_optimizer(
    name: str,
    schedule: Schedule,
    *,
    weight_decay: float,
    momentum: float = 0.9,
    nesterov: bool = False,
    exclude: str = OFFICIAL_EXCLUDE,
    group_norm: str = "as_official",
    trust_coefficient: float = 1e-3,
    clip_norm: float | None = None,
    excluded_rate: float = 1.0,
    freeze: str = "",
    layer_decay: float = 1.0,
    head_only_steps: int = 0,
) -> optax.GradientTransformation:
    """An optimiser by name.

    - "lars" (You et al. 2017 as in google-research/simclr and REMEDIS): weight decay is added to
      the gradient before the norm, the trust ratio is eta |w| / |g + wd w| (1 where a norm is 0),
      and the learning rate is *inside* the momentum buffer. `optax.lars` computes exactly this.
    - "lars_after_momentum": the same, but the learning rate multiplies what leaves the momentum
      buffer, as in the authors' code of BYOL, Barlow Twins and MoCo v3. The two agree only while
      the rate is constant.
    - "sgd": momentum; weight decay is L2, added to the gradient (official-code, bit).
    - "adamw": Loshchilov and Hutter 2019, decay apart from the gradient.

    Args:
        name: "lars", "lars_after_momentum", "sgd" or "adamw".
        schedule: Learning rate by step.
        weight_decay: Per step; 1e-6 for REMEDIS pre-training, 0 for BiT fine-tuning.
        momentum: Of LARS and SGD; for AdamW the first-moment decay.
        nesterov: Whether momentum looks ahead (official-code: no for LARS, yes for SGD).
        exclude: Regular expression on parameter paths; matches get neither weight decay nor layer
            adaptation (official-code: `OFFICIAL_EXCLUDE`).
        group_norm: "as_official" or "exclude", see `GROUP_NORM_CHOICES`.
        trust_coefficient: eta of LARS (official-code: 0.001).
        clip_norm: Global norm that gradients are clipped to before all else; None for no clipping.
        excluded_rate: What the rate of excluded parameters is multiplied by; 0.024 for Barlow
            Twins (authors-code: 0.0048 beside 0.2).
        freeze: What is not trained and has no optimiser state, see `models.freezing.is_frozen`.
        layer_decay: See `models.freezing.rate_multipliers`.
        head_only_steps: For so many first steps the encoder gets no update.

    Raises:
        UserError: Unknown name or choice, or a number out of range.
    """
    if layer_decay <= 0:
        raise UserError(f"optimizer.layer_decay is {layer_decay}.", "Use more than 0, e.g. 0.65.")
    pattern = exclusion_regex(exclude, group_norm)

    def mask(params):
        return regex_mask(params, pattern)

    if name == "lars":
        optimizer = optax.lars(
            schedule,
            weight_decay=weight_decay,
            weight_decay_mask=mask,
            trust_coefficient=trust_coefficient,
            trust_ratio_mask=mask,
            momentum=momentum,
            nesterov=nesterov,
        )
    elif name == "lars_after_momentum":
        optimizer = optax.chain(
            optax.add_decayed_weights(weight_decay, mask),
            optax.masked(optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient), mask),
            optax.trace(decay=momentum, nesterov=nesterov),
            optax.scale_by_learning_rate(schedule),
        )
    elif name == "sgd":
        optimizer = optax.chain(
            optax.add_decayed_weights(weight_decay, mask),
            optax.sgd(schedule, momentum=momentum, nesterov=nesterov),
        )
    elif name == "adamw":
        optimizer = optax.adamw(schedule, b1=momentum, weight_decay=weight_decay, mask=mask)
    else:
        raise UserError(
            f"There is no optimizer {name!r}.", "Use lars, lars_after_momentum, sgd or adamw."
        )
    if excluded_rate != 1:

        def excluded(params):
            return jax.tree.map(lambda included: not included, mask(params))

        optimizer = optax.chain(optimizer, optax.masked(optax.scale(excluded_rate), excluded))
    if layer_decay != 1:
        by_depth = _scale_by_tree(lambda params: rate_multipliers(params, "", layer_decay))
        optimizer = optax.chain(optimizer, by_depth)
    if head_only_steps:
        optimizer = _hold_encoder(optimizer, head_only_steps)
    if clip_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
    if not freeze:
        return optimizer
    # What is frozen gets neither state nor weight decay, nor a say in the norm that is clipped.
    labels = {True: "frozen", False: "trained"}
    return optax.partition(
        {"trained": optimizer, "frozen": optax.set_to_zero()},
        lambda params: jax.tree.map(labels.get, frozen_mask(params, freeze)),
    )


def _scale_by_tree(multipliers: Callable[[Any], Any]) -> optax.GradientTransformation:
    """Multiplies each update by its own number, which `multipliers` finds by the parameters."""

    def update(updates, state, params):
        return jax.tree.map(lambda u, m: u * m, updates, multipliers(params)), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _hold_encoder(
    optimizer: optax.GradientTransformation, steps: int
) -> optax.GradientTransformation:
    """No update for the encoder during the first steps, and nothing in its momentum.

    The optimiser is shown gradients and parameters of zero, so that neither those nor weight decay
    gather in its state.
    """

    def hold(tree, step):
        on = (step >= steps).astype(jnp.float32)
        return jax.tree_util.tree_map_with_path(
            lambda path, x: x if parameter_path(path).startswith("head/") else x * on, tree
        )

    def init(params):
        return jnp.zeros((), jnp.int32), optimizer.init(params)

    def update(updates, state, params):
        step, inner = state
        updates, inner = optimizer.update(hold(updates, step), inner, hold(params, step))
        return hold(updates, step), (step + 1, inner)

    return optax.GradientTransformation(init, update)
