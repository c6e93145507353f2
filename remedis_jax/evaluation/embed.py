"""The encoder's features of images, on all devices."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from remedis_jax.augment import Recipe
from remedis_jax.data.pipeline import eval_batches
from remedis_jax.data.sources import ImageSource
from remedis_jax.models.bit import BiT, BiTSpec, to_bit_input
from remedis_jax.training.rng import stream_key
from remedis_jax.training.sharding import jit_forward, put_batch, put_replicated


@functools.lru_cache(maxsize=16)
def _forward(encoder: BiTSpec, recipe: Recipe, size: int, mesh: Mesh) -> Callable:
    """The compiled function (parameters, batch) -> features [B, F]; the same seed, the same view.

    An image's view depends on the seed and its index alone, so that the numbers of different
    checkpoints are of the same pixels.
    """

    def features(params, batch):
        keys = None
        if recipe.is_random:
            root = stream_key(jax.random.key(0), "embed", batch["seed"][0])
            keys = jax.vmap(lambda index: jax.random.fold_in(root, index))(batch["index"])
        views = to_bit_input(recipe(keys, batch["image"], size), encoder.value_range)
        return BiT(encoder).apply({"params": params}, views)

    return jit_forward(features, mesh)


def features_of(
    params: Any,
    source: ImageSource,
    *,
    encoder: BiTSpec,
    recipe: Recipe,
    size: int,
    mesh: Mesh,
    seed: int = 0,
    batch_size: int = 256,
) -> np.ndarray:
    """Features of every image, each exactly once, in order.

    Args:
        params: The encoder's parameters, on the host or replicated over the mesh.
        source: N images.
        encoder: The network.
        recipe: How an image becomes what the network sees.
        size: Height and width of that in pixels.
        mesh: Devices to compute on.
        seed: Of the views, where the recipe is random.
        batch_size: Raised to a multiple of the number of devices.

    Returns:
        float32 [N, F], on every process.
    """
    devices = mesh.shape["data"]
    batch_size = -(-min(batch_size, len(source)) // devices) * devices
    forward = _forward(encoder, recipe, size, mesh)
    params = put_replicated(params, mesh)
    rows, done = [], 0
    batches = eval_batches(
        source,
        batch_size=batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    for batch in batches:
        count = len(batch["image"])
        given = put_batch(
            {
                "image": batch["image"],
                "index": batch["index"],
                "seed": np.full(count, seed, np.int32),
            },
            mesh,
        )
        # The last batch is filled up; what was filled in stands at its end.
        rows.append(np.asarray(forward(params, given))[: len(source) - done])
        done += len(rows[-1])
    return np.concatenate(rows)
