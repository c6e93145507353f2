"""NT-Xent with embeddings that go round the devices instead of being gathered.

Gathered embeddings and their gradient grow with the global batch. Here every device holds its own
embeddings and those of one other device, passes the latter on, and after as many steps as there
are devices has met all of them: memory that does not grow with the number of devices.

The gradient needs no second set of messages, because all 2N rows ask the same question. With
p_ij = softmax over j of v_i . v_j / T, embedding i occurs in its own row and as a column of every
other row, and v_i . v_j = v_j . v_i:

    d loss / d v_i = (sum_j (p_ij + p_ji) v_j - 2 v_partner(i)) / T

so a device that meets the embeddings v_j *and* the normalisers of their rows has all that it needs.
One round finds the normalisers, a second one the gradient; the products are as many as in the
gathered form (`objectives.nt_xent`), which is what the tests compare with.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from remedis_jax.objectives.row_blocks import split_blocks

_SELF = -1e9


def ring_sums(
    views: jax.Array, axes: tuple[str, ...], temperature: float, block: int
) -> jax.Array:
    """Sums over the global batch of cross-entropy, hits and entropy; inside `jax.shard_map`.

    Args:
        views: float32 [2, n, d], this device's embeddings of unit length.
        axes: The mesh axes that the batch is split over.
        temperature: Positive.
        block: Rows that are compared at a time with 2n columns, at most n.

    Returns:
        float32 [3], equal on all devices: cross-entropy of all 2N rows, how many first views have
        their partner as nearest second view, and the entropies in nats of the first views' softmax
        over second views. Only the first has a gradient.
    """
    return _sums(views, axes, temperature, block)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _sums(views, axes, temperature, block):
    return _forward(views, axes, temperature, block)[0]


def _forward(views, axes, temperature, block):
    me, devices = lax.axis_index(axes), lax.psum(1, axes)

    def meet_own(view):
        def compare(part):
            rows, own = part
            is_own = jnp.arange(views.shape[1])[None] == own[:, None]
            same = jnp.where(is_own, _SELF, _logits(rows, views[view], temperature))
            cross = _logits(rows, views[1 - view], temperature)
            positive = jnp.where(is_own, cross, 0.0).sum(axis=1)
            earlier = jnp.arange(views.shape[1])[None] < own[:, None]
            beaten = _beaten(cross, positive, earlier)
            return _summary(same), _summary(cross), beaten, positive

        return _by_blocks(compare, (views[view], jnp.arange(views.shape[1])), block)

    def meet(view, keys, positive, owner):
        def compare(part):
            rows, positive = part
            same = _logits(rows, keys[view], temperature)
            cross = _logits(rows, keys[1 - view], temperature)
            return _summary(same), _summary(cross), _beaten(cross, positive, owner < me)

        return _by_blocks(compare, (views[view], positive), block)

    def step(carry, distance):
        keys, met = carry
        keys = _pass_on(keys, axes, devices)
        owner = (me - distance) % devices
        met = tuple(
            _merge_meetings(earlier, meet(view, keys, positives[view], owner))
            for view, earlier in enumerate(met)
        )
        return (keys, met), None

    own = [meet_own(view) for view in (0, 1)]
    positives = [positive for *_, positive in own]
    met = tuple(meeting[:3] for meeting in own)
    (_, met), _ = lax.scan(step, (views, met), jnp.arange(1, devices))
    normalisers = jnp.stack([_log_total(_merge(same, cross)) for same, cross, _ in met])
    _, (top, total, weighted), beaten = met[0]
    sums = jnp.stack(
        [
            (normalisers - jnp.stack(positives)).sum(),
            (~beaten).sum(dtype=jnp.float32),
            (jnp.log(total) - weighted / total).sum(),
        ]
    )
    return lax.psum(sums, axes), (views, normalisers)


def _backward(axes, temperature, block, residuals, cotangent):
    views, normalisers = residuals
    devices = lax.psum(1, axes)
    count = views.shape[1]

    def meet(view, keys, are_own):
        """What rows of a view get from embeddings and normalisers [2, n, d + 1]."""

        def compare(part):
            rows, normaliser, own = part
            is_own = are_own & (jnp.arange(count)[None] == own[:, None])
            total = jnp.zeros_like(rows)
            for other in (0, 1):
                columns, theirs = keys[other, :, :-1], keys[other, :, -1]
                logits = _logits(rows, columns, temperature)
                weights = jnp.exp(logits - normaliser[:, None]) + jnp.exp(logits - theirs[None])
                # The partner's 2 is taken off here and not from the sum, where the digits of a
                # nearly perfect pair would be lost.
                own_weight = 0.0 if other == view else weights - 2
                weights = jnp.where(is_own, own_weight, weights)
                total += jnp.matmul(weights, columns, precision=lax.Precision.HIGHEST)
            return total

        parts = (views[view], normalisers[view], jnp.arange(count))
        return _by_blocks(compare, parts, block)

    def step(carry, _):
        keys, total = carry
        keys = _pass_on(keys, axes, devices)
        return (keys, total + jnp.stack([meet(view, keys, False) for view in (0, 1)])), None

    keys = jnp.concatenate([views, normalisers[..., None]], axis=-1)
    total = jnp.stack([meet(view, keys, True) for view in (0, 1)])
    (_, total), _ = lax.scan(step, (keys, total), None, length=devices - 1)
    return (cotangent[0] / temperature * total,)


_sums.defvjp(_forward, _backward)


def _logits(rows, columns, temperature):
    return jnp.matmul(rows, columns.T, precision=lax.Precision.HIGHEST) / temperature


def _summary(logits):
    """Of each row: the largest l, sum exp(l - largest), sum exp(l - largest) (l - largest)."""
    top = logits.max(axis=1)
    below = logits - top[:, None]
    weights = jnp.exp(below)
    return top, weights.sum(axis=1), (weights * below).sum(axis=1)


def _merge(a, b):
    """The summary of two sets of columns from a summary of each."""
    top = jnp.maximum(a[0], b[0])
    total = weighted = 0.0
    for part_top, part_total, part_weighted in (a, b):
        shift = part_top - top
        total += jnp.exp(shift) * part_total
        weighted += jnp.exp(shift) * (part_weighted + shift * part_total)
    return top, total, weighted


def _merge_meetings(a, b):
    return _merge(a[0], b[0]), _merge(a[1], b[1]), a[2] | b[2]


def _log_total(summary):
    return summary[0] + jnp.log(summary[1])


def _beaten(logits, positive, earlier):
    """Whether a column is nearer than the positive; of equal ones the first wins, as `is_best`."""
    positive = positive[:, None]
    return ((logits > positive) | ((logits == positive) & earlier)).any(axis=1)


def _by_blocks(function, tree, block):
    """`function` of parts of [n, ...] arrays, `block` rows at a time, results joined again."""
    parts, rest = split_blocks(tree, block)
    if jax.tree.leaves(parts)[0].shape[0] > 1:
        results = lax.map(function, parts)
        results = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), results)
    else:
        results = function(jax.tree.map(lambda part: part[0], parts))
    if rest is None:
        return results
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), results, function(rest))


def _pass_on(x, axes, devices):
    return lax.ppermute(x, axes, [(i, (i + 1) % devices) for i in range(devices)])
