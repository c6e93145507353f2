"""RELIC (Mitrovic et al. 2021): contrast, with the same answer whatever the augmentation.

With o the trained network's embeddings, t the target's, all of unit length, and

    p12_i = softmax_j(o1_i . t2_j / T),    p21_i = softmax_j(o2_i . t1_j / T)

over the N examples of the global batch (cross-view similarities only, the positive included),

    loss = mean_i -log p12_i(i) + mean_i -log p21_i(i) + alpha mean_i KL

Example i should find itself in the other view, and should stand in the same relation to all other
examples under both augmentations: the invariance penalty. No public code trains RELIC, and what
the appendix of the paper fixes could not be read; these are named options, with what was chosen:

- `kl_direction`: "forward" KL(p12 | p21), "reverse" KL(p21 | p12), or "symmetric", their mean.
  Chosen: symmetric, since the paper's sum runs over all ordered pairs of augmentations; the mean
  and not that sum, so that `alpha` weighs the same in all three (2 alpha for the sum).
- `kl_stop_gradient`: which side of each KL is a constant: "second" (the reference), "first" or
  "none". Chosen: "second"; each view is drawn to the other as it stands.
- `alpha` 1 and `temperature` 0.1: from memory of the paper, unverified.
- `target_network`: "ema", a moving average as in BYOL (after the optimiser's step, with a decay
  that grows from `momentum` to 1), or "none", where t is the trained network's own embedding and
  gradients flow into it. Chosen: "ema", which the paper reports as the better.
- The critic is an MLP of BYOL's shape on both sides, without a predictor (ours).

Linear probe on ImageNet, ResNet-50: 70.3% without and 74.8% with the target network (from memory
of the paper, unverified); RELICv2 77.1% (Tomasev et al. 2022, abstract).
"""

import dataclasses
import functools
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from remedis_jax.models.heads import MLP
from remedis_jax.objectives.heads import apply_per_view, init_head, init_statistics
from remedis_jax.objectives.momentum import copy_of, cosine_decay_to_one, moved
from remedis_jax.objectives.nt_xent import (
    check_views,
    entropy,
    is_best,
    l2_normalise,
    similarities,
)
from remedis_jax.objectives.options import KL_DIRECTIONS, KL_STOP_GRADIENTS
from remedis_jax.objectives.row_blocks import (
    MAX_LOGITS_MIB,
    rows_per_block,
    sum_over_row_blocks,
)
from remedis_jax.objectives.spread import spread
from remedis_jax.objectives.views import Views


def _kl(log_p: jax.Array, log_q: jax.Array, stop_gradient: str) -> jax.Array:
    """KL(p | q) of each row in nats: [b]."""
    if stop_gradient == "first":
        log_p = lax.stop_gradient(log_p)
    elif stop_gradient == "second":
        log_q = lax.stop_gradient(log_q)
    return (jnp.exp(log_p) * (log_p - log_q)).sum(axis=1)


def relic_loss(
    online1: jax.Array,
    online2: jax.Array,
    target1: jax.Array,
    target2: jax.Array,
    *,
    temperature: float,
    alpha: float,
    kl_direction: str = "symmetric",
    kl_stop_gradient: str = "second",
    target_gradient: bool = False,
    mesh: Mesh,
    max_logits_mib: float = MAX_LOGITS_MIB,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Contrastive loss of both directions and the invariance penalty between them.

    Args:
        online1: [N, d] of the first views, any float dtype, not normalised.
        online2: [N, d] of the second views.
        target1: [N, d] of the first views, from the target network.
        target2: [N, d] of the second views.
        temperature: Positive.
        alpha: Weight of the penalty, 0 or more.
        kl_direction: One of `KL_DIRECTIONS`.
        kl_stop_gradient: One of `KL_STOP_GRADIENTS`.
        target_gradient: Whether gradients flow into the targets.
        mesh: The mesh that the surrounding computation is sharded on (axis "data").
        max_logits_mib: See `row_blocks.rows_per_block`.

    Returns:
        The float32 scalar loss, its part `invariance` (the KL, unweighted), and
        `contrastive_accuracy` and `contrastive_entropy` of p12.

    Raises:
        ValueError: Shapes differ, or an option is none of its choices.
    """
    check_views(online1, online2, target1, target2, temperature=temperature)
    if kl_direction not in KL_DIRECTIONS or kl_stop_gradient not in KL_STOP_GRADIENTS:
        raise ValueError(f"unknown option {kl_direction!r} or {kl_stop_gradient!r}")
    if alpha < 0:
        raise ValueError(f"alpha must not be negative, and is {alpha}")
    pairs = online1.shape[0]

    def block_sum(rows, columns, own, fixed_columns):
        t1, t2 = columns or fixed_columns
        log12 = jax.nn.log_softmax(similarities(rows[0], t2, temperature), axis=1)
        log21 = jax.nn.log_softmax(similarities(rows[1], t1, temperature), axis=1)
        is_own = jnp.arange(pairs)[None] == own[:, None]
        contrastive = -jnp.where(is_own, log12 + log21, 0.0).sum()
        forward = _kl(log12, log21, kl_stop_gradient).sum()
        reverse = _kl(log21, log12, kl_stop_gradient).sum()
        penalty = {
            "forward": forward,
            "reverse": reverse,
            "symmetric": (forward + reverse) / 2,
        }[kl_direction]
        fixed = lax.stop_gradient(log12)
        correct = is_best(fixed, jnp.where(is_own, fixed, 0.0).sum(axis=1), own)
        sums = (penalty, correct.sum(dtype=jnp.float32), entropy(fixed).sum())
        return contrastive + alpha * penalty, lax.stop_gradient(sums)

    split = PartitionSpec("data")

    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=(split, split), out_specs=PartitionSpec()
    )
    def core(online, target):
        local = online.shape[0]
        online, target = (l2_normalise(x.astype(jnp.float32)) for x in (online, target))
        # One gather for both views' targets.
        gathered = lax.all_gather(target, "data", tiled=True)
        columns = (gathered[:, 0], gathered[:, 1])
        loss, sums = sum_over_row_blocks(
            block_sum,
            (online[:, 0], online[:, 1]),
            columns if target_gradient else (),
            lax.axis_index("data") * local + jnp.arange(local),
            () if target_gradient else columns,
            # Two similarity matrices at a time.
            block=rows_per_block(local, 2 * pairs, max_logits_mib),
        )
        return lax.psum(jnp.stack([loss, *sums]), "data") / pairs

    targets = jnp.stack([target1, target2], axis=1)
    if not target_gradient:
        targets = lax.stop_gradient(targets)
    loss, *sums = core(jnp.stack([online1, online2], axis=1), targets)
    names = ("invariance", "contrastive_accuracy", "contrastive_entropy")
    return loss, {name: lax.stop_gradient(v) for name, v in zip(names, sums, strict=True)}


@dataclasses.dataclass(frozen=True)
class RELIC:
    """The RELIC objective; see `objectives.interface.Objective` for the methods.

    Attributes:
        views: The network and its two views.
        total_steps: Of the run: where the target stops moving.
        temperature: Of both softmaxes.
        alpha: Weight of the invariance penalty.
        kl_direction: One of `KL_DIRECTIONS`.
        kl_stop_gradient: One of `KL_STOP_GRADIENTS`.
        target_network: "ema" or "none".
        momentum: Decay of the target network at the first step.
        hidden_dim: Width of the critic's hidden layer.
        head_dim: Dimension of the embeddings.
        max_logits_mib: See `row_blocks.rows_per_block`.
    """

    views: Views
    total_steps: int
    temperature: float = 0.1  # from memory, see above
    alpha: float = 1.0  # from memory, see above
    kl_direction: str = "symmetric"  # ours
    kl_stop_gradient: str = "second"  # ours
    target_network: str = "ema"  # ours
    momentum: float = 0.996  # BYOL's
    hidden_dim: int = 4096  # BYOL's
    head_dim: int = 256  # BYOL's
    max_logits_mib: float = MAX_LOGITS_MIB  # ours

    keys_per_example: ClassVar[int] = 2
    decomposes: ClassVar[bool] = False

    @property
    def projection_head(self) -> MLP:
        return MLP((self.hidden_dim, self.head_dim), hidden_bias=True)

    def init_params(self, seed, image_shape):
        inputs = self.views.feature_shape()
        return {
            "encoder": self.views.init_encoder(seed),
            "projection_head": init_head(self.projection_head, seed, inputs, "projection_head"),
        }

    def init_state(self, seed, params):
        statistics = init_statistics(self.projection_head, self.views.feature_shape())
        state = {"batch_stats": statistics}
        if self.target_network == "ema":
            state["target"] = copy_of(params)
            state["target_batch_stats"] = copy_of(statistics)
            state["step"] = np.zeros((), np.int32)
        return state

    def loss(self, params, model_state, batch, keys):
        target = model_state.get("target")
        features, target_features = self.views.features(
            params["encoder"],
            batch["image"],
            keys,
            target=None if target is None else target["encoder"],
        )
        online, statistics = apply_per_view(
            self.projection_head, params["projection_head"], model_state["batch_stats"], features
        )
        state = {**model_state, "batch_stats": statistics}
        targets = online
        if target is not None:
            targets, state["target_batch_stats"] = apply_per_view(
                self.projection_head,
                target["projection_head"],
                model_state["target_batch_stats"],
                target_features,
            )
        loss, metrics = relic_loss(
            online[:, 0],
            online[:, 1],
            targets[:, 0],
            targets[:, 1],
            temperature=self.temperature,
            alpha=self.alpha,
            kl_direction=self.kl_direction,
            kl_stop_gradient=self.kl_stop_gradient,
            target_gradient=target is None,
            mesh=self.views.mesh,
            max_logits_mib=self.max_logits_mib,
        )
        return loss, (state, metrics | spread(features, online))

    def after_step(self, params, model_state):
        if self.target_network == "none":
            return model_state
        # The update that has just been made is number `step`, counted from 0.
        decay = cosine_decay_to_one(self.momentum, model_state["step"], self.total_steps)
        return {
            **model_state,
            "target": moved(model_state["target"], params, decay),
            "step": model_state["step"] + jnp.int32(1),
        }

    def chance_loss(self, batch_size):
        return 2 * math.log(batch_size)
