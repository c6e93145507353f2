"""LARS of both families, SGD and AdamW, with regular expressions for what they leave out.

Parameter paths are joined by "/", e.g. `encoder/block1/unit01/a/group_norm/gamma`.
"""

import re
from typing import Any

import jax
import optax

from remedis_jax.errors import UserError
from remedis_jax.training.schedules import Schedule

# official-code (google-research/simclr): neither weight decay nor layer adaptation for these.
OFFICIAL_EXCLUDE = r"batch_normalization|bias|^head/"
# The official expression misses the names of GroupNorm in BiT, so REMEDIS decays and adapts its
# gamma and beta: `group_norm="as_official"`. "exclude" adds them to the exclusions.
GROUP_NORM_CHOICES = ("as_official", "exclude")


def parameter_path(path: tuple) -> str:
    """"encoder/block1/..." of a path from `jax.tree_util.tree_map_with_path`."""
    return "/".join(str(entry.key) for entry in path)


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

    Raises:
        UserError: Unknown name or choice.
    """
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
    if clip_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
