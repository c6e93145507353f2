"""NT-Xent over the negatives of all devices: the cross-device core of contrastive learning.

For N pairs (z1_i, z2_i) of L2-normalised embeddings, row i of view a asks which of the 2N - 1
other embeddings is its partner:

    l_a(i) = -log  exp(z1_i . z2_i / T) / (sum_j exp(z1_i . z2_j / T)
                                           + sum_{j != i} exp(z1_i . z1_j / T))

and likewise l_b with the views exchanged (Chen et al. 2020, equation 1; google-research/simclr,
`objective.add_contrastive_loss`). The official loss is mean_i l_a + mean_i l_b ("sum"), twice the
mean over all 2N rows ("mean") that optax and the PyTorch libraries use.

`info_nce` is the form with one view's rows only: queries of one view against keys of the other,
without same-view negatives (van den Oord et al. 2018).

Every device holds N / devices pairs, gathers the embeddings of all, and computes its own rows
against all columns, a block of rows at a time (`objectives.row_blocks`). The gather is
differentiable: stopping the gradient there leaves the loss unchanged and halves its gradient. The
sum over devices happens *inside* the differentiated function, with `jax.shard_map`'s check of what
varies between devices left on: that is the form in which value and gradient are those of the whole
batch.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from remedis_jax.objectives.ring import ring_sums
from remedis_jax.objectives.row_blocks import (
    MAX_LOGITS_MIB,
    rows_per_block,
    sum_over_row_blocks,
)

# ours: MiB of gathered embeddings and their gradient on a device; 131,072 pairs of dimension 128.
MAX_GATHERED_MIB = 256.0

# official-code: what a row's similarity to itself is lowered by.
_SELF_PENALTY = 1e9


def l2_normalise(x: jax.Array) -> jax.Array:
    """x / max(|x|, 1e-6) over the last axis, as `tf.math.l2_normalize` (official-code)."""
    return x * lax.rsqrt(jnp.maximum(jnp.square(x).sum(axis=-1, keepdims=True), 1e-12))


def similarities(rows: jax.Array, columns: jax.Array, temperature: float) -> jax.Array:
    """float32 [b, n] inner products of [b, d] with [n, d], divided by the temperature."""
    products = jnp.matmul(rows, columns.T, precision=lax.Precision.HIGHEST)
    return products / temperature


def is_best(logits: jax.Array, positive: jax.Array, column: jax.Array) -> jax.Array:
    """Whether `column` is the row's argmax: bool [b].

    Written with comparisons, which fuse into one pass over the logits. Of equal logits the first
    wins, so collapsed embeddings are right once in N times and not always.

    Args:
        logits: [b, n].
        positive: [b], the logits at `column`, of the same bits.
        column: int32 [b].
    """
    index = jnp.arange(logits.shape[1])[None]
    better = logits > positive[:, None]
    as_good_and_earlier = (logits == positive[:, None]) & (index < column[:, None])
    return ~(better | as_good_and_earlier).any(axis=1)


def entropy(logits: jax.Array) -> jax.Array:
    """Entropy in nats of softmax over axis 1: [b]."""
    highest = logits.max(axis=1, keepdims=True)
    weights = jnp.exp(logits - highest)
    total = weights.sum(axis=1)
    weighted = jnp.where(weights > 0, weights * (logits - highest), 0.0).sum(axis=1)
    return jnp.log(total) - weighted / total


def data_axes(axis: str | Sequence[str]) -> tuple[str, ...]:
    """One or several mesh axes as a tuple."""
    return (axis,) if isinstance(axis, str) else tuple(axis)


def check_views(*views: jax.Array, temperature: float) -> None:
    """Raises ValueError unless views are [N, d] arrays of one shape and the temperature positive.

    Sharded and single-device code would otherwise broadcast and give some other number.
    """
    shapes = {view.shape for view in views}
    if len(shapes) != 1 or views[0].ndim != 2:
        raise ValueError(f"views must be [N, d] arrays of one shape, not {sorted(shapes)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")


def nt_xent(
    z1: jax.Array,
    z2: jax.Array,
    *,
    temperature: float,
    mesh: Mesh,
    axis: str | Sequence[str] = "data",
    convention: str = "sum",
    max_logits_mib: float = MAX_LOGITS_MIB,
    max_gathered_mib: float = MAX_GATHERED_MIB,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """NT-Xent loss of a global batch of pairs, with the batch sharded over the mesh's data axes.

    Collectives: one all-gather of both views' embeddings and one all-reduce of three numbers
    forward, one reduce-scatter backward. Memory beside the embeddings and the gradient of the
    gathered ones: about three blocks of at most `max_logits_mib` each (logits, exponentials,
    gradient). Where gathered
    embeddings and their gradient would take more than `max_gathered_mib`, embeddings go round the
    devices instead (`objectives.ring`): two rounds of neighbour messages, and memory that does not
    grow with the number of devices.

    Args:
        z1: [N, d] embeddings of the first views, any float dtype, not normalised. N is the global
            batch; it must be divisible by the number of devices along `axis`.
        z2: [N, d] embeddings of the second views; row i is the partner of row i of `z1`.
        temperature: Positive; 0.1 for ImageNet and REMEDIS, 0.5 for CIFAR (official-code).
        mesh: The mesh that the surrounding computation is sharded on.
        axis: Name or names of its data axes.
        convention: "sum" (official-code) or "mean" (half of it).
        max_logits_mib: See `row_blocks.rows_per_block`; infinite for all rows at once.
        max_gathered_mib: Per device, of `2 x 2N x d x 4` bytes; 0 for always in a ring.

    Returns:
        The float32 scalar loss, equal on every device, and float32 scalar metrics
        `contrastive_accuracy` (share of first views whose nearest second view is their partner)
        and `contrastive_entropy` (nats, of that distribution); both look at the cross-view
        similarities only (official-code).

    Raises:
        ValueError: Shapes differ, the temperature or the limit is not positive, or the convention
            is unknown.
    """
    check_views(z1, z2, temperature=temperature)
    if convention not in ("sum", "mean"):
        raise ValueError(f"convention is 'sum' or 'mean', not {convention!r}")
    pairs = z1.shape[0]
    axes = data_axes(axis)

    def block_sum(rows, columns, own, _):
        """Rows whose own columns are `own`; columns are [first views; second views]."""
        logits = similarities(rows, columns, temperature)
        column = jnp.arange(2 * pairs)[None]
        partner = (own + pairs) % (2 * pairs)
        logits = jnp.where(column == own[:, None], logits - _SELF_PENALTY, logits)
        positive = jnp.where(column == partner[:, None], logits, 0.0).sum(axis=1)
        cross_entropy = jax.nn.logsumexp(logits, axis=1) - positive
        # The metrics are of first views, which come first among the rows; a tenth of the time is
        # saved by not computing them for blocks of second views.
        fixed = lax.stop_gradient((logits, positive, own))
        return cross_entropy.sum(), lax.cond(own[0] < pairs, metric_sums, no_sums, *fixed)

    def metric_sums(logits, positive, own):
        cross = logits[:, pairs:]
        is_first = own < pairs
        correct = is_first & is_best(cross, positive, own)
        uncertainty = jnp.where(is_first, entropy(cross), 0.0)
        return jnp.stack([correct.astype(jnp.float32).sum(), uncertainty.sum()])

    def no_sums(logits, positive, own):
        return jnp.zeros_like(positive, shape=(2,))

    devices = math.prod(mesh.shape[name] for name in axes)
    gathered_mib = 2 * 2 * pairs * z1.shape[1] * 4 / 2**20
    in_ring = devices > 1 and gathered_mib > max_gathered_mib

    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(PartitionSpec(axes), PartitionSpec(axes)),
        out_specs=PartitionSpec(),
    )
    def core(z1, z2):
        local = z1.shape[0]
        views = l2_normalise(jnp.stack([z1, z2]).astype(jnp.float32))
        if in_ring:
            block = rows_per_block(local, 2 * local, max_logits_mib)
            return ring_sums(views, axes, temperature, block) / pairs
        # One gather for both views; its transpose is one reduce-scatter.
        gathered = lax.all_gather(views, axes, axis=1, tiled=True)
        first = lax.axis_index(axes) * local + jnp.arange(local)
        own = jnp.concatenate([first, first + pairs])
        loss, sums = sum_over_row_blocks(
            block_sum,
            views.reshape(2 * local, -1),
            gathered.reshape(2 * pairs, -1),
            own,
            (),
            block=rows_per_block(2 * local, 2 * pairs, max_logits_mib),
        )
        return lax.psum(jnp.concatenate([loss[None], sums]), axes) / pairs

    loss, accuracy, uncertainty = core(z1, z2)
    if convention == "mean":
        loss = loss / 2
    metrics = {
        "contrastive_accuracy": lax.stop_gradient(accuracy),
        "contrastive_entropy": lax.stop_gradient(uncertainty),
    }
    return loss, metrics


def chance_loss(pairs: int, convention: str = "sum") -> float:
    """NT-Xent of embeddings that tell nothing: ln of the 2N - 1 candidates, for both views."""
    return math.log(2 * pairs - 1) * (2 if convention == "sum" else 1)


def info_nce(
    queries: jax.Array,
    keys: jax.Array,
    *,
    temperature: float,
    mesh: Mesh,
    axis: str | Sequence[str] = "data",
    max_logits_mib: float = MAX_LOGITS_MIB,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """InfoNCE of queries against the keys of all devices; the one-view form of NT-Xent.

    mean_i -log softmax_j(q_i . k_j / T) at j = i, of L2-normalised embeddings. Keys are taken as
    constants, as in the methods whose keys come from a momentum encoder, so that the backward pass
    needs no collective.

    Args:
        queries: [N, d], any float dtype, not normalised.
        keys: [N, d]; row i belongs to query i. No gradient flows into them.
        temperature: Positive.
        mesh: The mesh that the surrounding computation is sharded on.
        axis: Name or names of its data axes.
        max_logits_mib: See `row_blocks.rows_per_block`.

    Returns:
        The float32 scalar loss and the metrics of `nt_xent`.

    Raises:
        ValueError: As for `nt_xent`.
    """
    check_views(queries, keys, temperature=temperature)
    pairs = queries.shape[0]
    axes = data_axes(axis)

    def block_sum(rows, _, own, columns):
        logits = similarities(rows, columns, temperature)
        is_own = jnp.arange(pairs)[None] == own[:, None]
        positive = jnp.where(is_own, logits, 0.0).sum(axis=1)
        cross_entropy = jax.nn.logsumexp(logits, axis=1) - positive
        fixed = lax.stop_gradient(logits)
        correct = is_best(fixed, lax.stop_gradient(positive), own)
        return cross_entropy.sum(), (correct.sum(dtype=jnp.float32), entropy(fixed).sum())

    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(PartitionSpec(axes), PartitionSpec(axes)),
        out_specs=PartitionSpec(),
    )
    def core(queries, keys):
        local = queries.shape[0]
        queries, keys = (l2_normalise(x.astype(jnp.float32)) for x in (queries, keys))
        gathered = lax.all_gather(keys, axes, tiled=True)
        loss, (correct, uncertainty) = sum_over_row_blocks(
            block_sum,
            queries,
            (),
            lax.axis_index(axes) * local + jnp.arange(local),
            gathered,
            block=rows_per_block(local, pairs, max_logits_mib),
        )
        return lax.psum(jnp.stack([loss, correct, uncertainty]), axes) / pairs

    loss, accuracy, uncertainty = core(queries, lax.stop_gradient(keys))
    metrics = {
        "contrastive_accuracy": lax.stop_gradient(accuracy),
        "contrastive_entropy": lax.stop_gradient(uncertainty),
    }
    return loss, metrics
