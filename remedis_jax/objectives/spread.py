"""How far apart the embeddings of a batch are: the first thing to look at for a collapse."""

import jax
import jax.numpy as jnp
from jax import lax

from remedis_jax.objectives.nt_xent import l2_normalise


def relative_std(x: jax.Array) -> jax.Array:
    """Spread of the directions of embeddings: 0 for a collapse, 1 for no preferred direction.

    sqrt(d) times the mean over dimensions of the standard deviation over rows, of rows scaled to
    unit length (Chen and He 2021, SimSiam, figure 2). No gradient flows through it.

    Args:
        x: [n, d].

    Returns:
        float32 scalar in [0, 1].
    """
    rows = l2_normalise(lax.stop_gradient(x).astype(jnp.float32))
    deviation = jnp.sqrt(jnp.square(rows - rows.mean(axis=0)[None]).mean(axis=0))
    return deviation.mean() * jnp.sqrt(jnp.float32(x.shape[1]))


def spread(features: jax.Array, projections: jax.Array) -> dict[str, jax.Array]:
    """`feature_std` of the encoder's output and `embedding_std` of the head's.

    Both, since BatchNorm in a head can hide from the one what has happened to the other.

    Args:
        features: [..., F].
        projections: [..., d].
    """
    return {
        "feature_std": relative_std(features.reshape(-1, features.shape[-1])),
        "embedding_std": relative_std(projections.reshape(-1, projections.shape[-1])),
    }
