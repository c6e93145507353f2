"""NT-Xent over the negatives of all devices: the cross-device core of contrastive learning.

For N pairs (z1_i, z2_i) of L2-normalised embeddings, row i of view a asks which of the 2N - 1
other embeddings is its partner:

    l_a(i) = -log  exp(z1_i . z2_i / T) / (sum_j exp(z1_i . z2_j / T)
                                           + sum_{j != i} exp(z1_i . z1_j / T))

and likewise l_b with the views exchanged (Chen et al. 2020, equation 1; google-research/simclr,
`objective.add_contrastive_loss`). The official loss is mean_i l_a + mean_i l_b ("sum"), twice the
mean over all 2N rows ("mean") that optax and the PyTorch libraries use.

Every device holds N / devices pairs, gathers the embeddings of all, and computes its own rows
against all columns. The gather is differentiable: stopping the gradient there leaves the loss
unchanged and halves its gradient. The sum over devices happens *inside* the differentiated
function, with `jax.shard_map`'s check of what varies between devices left on: that is the form in
which value and gradient are those of the whole batch.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

# official-code: what a row's similarity to itself is lowered by.
_SELF_PENALTY = 1e9


def l2_normalise(x: jax.Array) -> jax.Array:
    """x / max(|x|, 1e-6) over the last axis, as `tf.math.l2_normalize` (official-code)."""
    return x * lax.rsqrt(jnp.maximum(jnp.square(x).sum(axis=-1, keepdims=True), 1e-12))


def _rows_against_all(anchor, partner, all_anchor, all_partner, first_row, temperature):
    """Cross-entropy, accuracy and entropy of the local rows of one view.

    anchor, partner: [n, d] local rows; all_*: [N, d]; first_row: global index of local row 0.
    Returns three [n] arrays.
    """
    rows = jnp.arange(anchor.shape[0]) + first_row
    is_self = rows[:, None] == jnp.arange(all_anchor.shape[0])[None]
    highest = lax.Precision.HIGHEST
    to_partners = jnp.matmul(anchor, all_partner.T, precision=highest) / temperature
    to_own_view = jnp.matmul(anchor, all_anchor.T, precision=highest) / temperature
    to_own_view = to_own_view - _SELF_PENALTY * is_self
    logits = jnp.concatenate([to_partners, to_own_view], axis=1)
    positive = (anchor * partner).sum(axis=-1) / temperature
    cross_entropy = jax.nn.logsumexp(logits, axis=1) - positive
    # official-code: both metrics look at the cross-view similarities only.
    accuracy = to_partners.argmax(axis=1) == rows
    log_p = jax.nn.log_softmax(to_partners, axis=1)
    entropy = -(jnp.exp(log_p) * log_p).sum(axis=1)
    return cross_entropy, accuracy.astype(jnp.float32), entropy


def nt_xent(
    z1: jax.Array,
    z2: jax.Array,
    *,
    temperature: float,
    mesh: Mesh,
    axis: str = "data",
    convention: str = "sum",
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """NT-Xent loss of a global batch of pairs, with the batch sharded over one mesh axis.

    Args:
        z1: [N, d] embeddings of the first views, any float dtype, not normalised. N is the global
            batch; it must be divisible by the size of the mesh axis.
        z2: [N, d] embeddings of the second views; row i is the partner of row i of `z1`.
        temperature: Positive; 0.1 for ImageNet and REMEDIS, 0.5 for CIFAR (official-code).
        mesh: The mesh that the surrounding computation is sharded on.
        axis: Name of its data axis.
        convention: "sum" (official-code) or "mean" (half of it).

    Returns:
        The float32 scalar loss, equal on every device, and float32 scalar metrics
        `contrastive_accuracy` (share of first views whose nearest second view is their partner)
        and `contrastive_entropy` (nats, of that distribution).

    Raises:
        ValueError: Shapes differ, the temperature is not positive, or the convention is unknown.
    """
    if z1.shape != z2.shape or z1.ndim != 2:
        raise ValueError(f"views must be two [N, d] arrays of one shape: {z1.shape}, {z2.shape}")
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    if convention not in ("sum", "mean"):
        raise ValueError(f"convention is 'sum' or 'mean', not {convention!r}")
    global_batch = z1.shape[0]

    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(PartitionSpec(axis), PartitionSpec(axis)),
        out_specs=PartitionSpec(),
    )
    def core(z1, z2):
        views = jnp.stack([z1, z2], axis=1).astype(jnp.float32)
        views = l2_normalise(views)
        # One gather for both views; its transpose is one reduce-scatter.
        gathered = lax.all_gather(views, axis, tiled=True)
        first_row = lax.axis_index(axis) * z1.shape[0]
        local = (views[:, 0], views[:, 1])
        everyone = (gathered[:, 0], gathered[:, 1])
        of_a = _rows_against_all(*local, *everyone, first_row, temperature)
        of_b = _rows_against_all(*local[::-1], *everyone[::-1], first_row, temperature)
        summed = jnp.stack([(of_a[0] + of_b[0]).sum(), of_a[1].sum(), of_a[2].sum()])
        return lax.psum(summed, axis) / global_batch

    loss, accuracy, entropy = core(z1, z2)
    if convention == "mean":
        loss = loss / 2
    metrics = {
        "contrastive_accuracy": lax.stop_gradient(accuracy),
        "contrastive_entropy": lax.stop_gradient(entropy),
    }
    return loss, metrics
