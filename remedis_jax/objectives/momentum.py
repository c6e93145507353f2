"""Target networks: exponential moving averages of the trained one."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def copy_of(tree: Any) -> Any:
    """A target network as it starts: equal to the trained one, in memory of its own."""
    return jax.tree.map(lambda x: x.copy(), tree)


def moved(target: Any, params: Any, decay: jax.Array | float) -> Any:
    """decay * target + (1 - decay) * params, leaf by leaf; no gradient."""
    params = lax.stop_gradient(params)
    return jax.tree.map(lambda t, p: decay * t + (1 - decay) * p, target, params)


def cosine_decay_to_one(base: float, step: jax.Array, total_steps: int) -> jax.Array:
    """1 - (1 - base) (cos(pi step / total) + 1) / 2: from `base` at step 0 to 1 at the end.

    The momentum of BYOL (Grill et al. 2020) and MoCo v3 (Chen, Xie and He 2021).
    """
    share = step.astype(jnp.float32) / total_steps
    return 1 - (1 - base) * (jnp.cos(jnp.pi * share) + 1) / 2
