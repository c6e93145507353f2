"""From a batch of images to the encoder's features of their views.

The encoder treats every image by itself (GroupNorm has no batch statistics), so the features of a
large batch can be made a few examples at a time: `micro_batch`. Going forward, only the features
are kept; going backward, each part is augmented and encoded once more while its gradient is taken.
Loss and gradient are those of the whole batch to rounding, with the memory of one part: the cached
embeddings of Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup", written as a checkpointed scan.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from remedis_jax.augment import Recipe
from remedis_jax.models.bit import BiT, BiTSpec, to_bit_input
from remedis_jax.models.parameters import initialise
from remedis_jax.objectives.interface import Params


@dataclasses.dataclass(frozen=True)
class Views:
    """The network, and how its inputs are made of a batch.

    Attributes:
        encoder: The network.
        recipes: One augmentation for each view of an example.
        size: Height and width of a view in pixels.
        mesh: Mesh that the batch is sharded over (axis "data").
        micro_batch: Examples, over all devices, that are encoded at a time; 0 for all. Divides the
            batch and is a multiple of the number of devices.
        remat: What the encoder computes again going backward, see `BiT`.
    """

    encoder: BiTSpec
    recipes: tuple[Recipe, ...]
    size: int
    mesh: Mesh
    micro_batch: int = 0
    remat: str = "none"

    def init_encoder(self, seed: int) -> Params:
        """The encoder's parameters, as numpy arrays."""
        view = jax.ShapeDtypeStruct((2, self.size, self.size, 3), "float32")
        return initialise(BiT(self.encoder), seed, view)["params"]

    def feature_shape(self) -> jax.ShapeDtypeStruct:
        """Two rows of features, to initialise heads with."""
        return jax.ShapeDtypeStruct((2, self.encoder.output_dim), "float32")

    def features(
        self,
        encoder: Params,
        images: jax.Array,
        keys: jax.Array,
        *,
        take: tuple[int, ...] | None = None,
        target: Params | None = None,
        target_take: tuple[int, ...] | None = None,
        mix: Callable[[jax.Array], jax.Array] | None = None,
    ) -> tuple[jax.Array, jax.Array | None]:
        """Pooled features of the views, and those of a target network without gradient.

        Args:
            encoder: Parameters of the encoder.
            images: uint8 [B, H, W, C], or [B, V, H, W, C] with an image for each view.
            keys: [B, V] typed keys. What an example becomes depends on its own keys alone, and not
                on the number of devices or on `micro_batch`.
            take: Which views the encoder sees; all by default.
            target: Parameters of a second encoder that sees views too.
            target_take: Which views that one sees; all by default.
            mix: What is done to the views [B, V, size, size, C] of the whole batch before they
                are encoded; not with `micro_batch`.

        Returns:
            float32 [B, len(take), F] and [B, len(target_take), F] (None without `target`).
        """
        every = tuple(range(len(self.recipes)))

        def part(encoder, images, keys):
            views = self._make(images, keys)
            if mix is not None:
                views = mix(views)
            online = self._encode(encoder, views, every if take is None else take)
            if target is None:
                return online, None
            fixed = lax.stop_gradient(target)
            others = self._encode(fixed, views, every if target_take is None else target_take)
            return online, lax.stop_gradient(others)

        if not self.micro_batch:
            return part(encoder, images, keys)

        def add(_, chunk):
            # What is not kept is computed again going backward, a chunk at a time.
            return None, jax.checkpoint(part, prevent_cse=False)(encoder, *chunk)

        chunks = in_chunks((images, keys), self.micro_batch, self.mesh)
        return from_chunks(lax.scan(add, None, chunks)[1], self.mesh)

    def _make(self, images: jax.Array, keys: jax.Array) -> jax.Array:
        """float32 [b, V, size, size, C] in [0, 1]."""
        pairs, count = keys.shape
        if images.ndim == 4:
            images = jnp.broadcast_to(images[:, None], (pairs, count, *images.shape[1:]))
        if len(set(self.recipes)) == 1 and self.recipes[0].blur_sigma != "per_batch":
            # One program for all views, where those of a batch do not share a sigma each. The views
            # of an example stay neighbours: concatenating [first views; second views] would move
            # images between devices.
            flat = images.reshape(pairs * count, *images.shape[2:])
            views = self.recipes[0](keys.reshape(pairs * count), flat, self.size)
            return views.reshape(pairs, count, *views.shape[1:])
        made = [
            recipe(keys[:, v], images[:, v], self.size) for v, recipe in enumerate(self.recipes)
        ]
        return jnp.stack(made, axis=1)

    def _encode(self, encoder: Params, views: jax.Array, take: tuple[int, ...]) -> jax.Array:
        if take != tuple(range(views.shape[1])):
            views = jnp.stack([views[:, v] for v in take], axis=1)
        flat = views.reshape(-1, *views.shape[2:])
        inputs = to_bit_input(flat, self.encoder.value_range)
        features = BiT(self.encoder, self.remat).apply({"params": encoder}, inputs)
        return features.reshape(*views.shape[:2], -1)


def in_chunks(tree: Any, chunk: int, mesh: Mesh) -> Any:
    """[B, ...] -> [B / chunk, chunk, ...], every device keeping the examples that it has.

    A chunk takes some examples of each device, so that no image moves between devices.
    """
    devices = mesh.shape["data"]
    sharding = NamedSharding(mesh, PartitionSpec(None, "data"))

    def split(x):
        rest = x.shape[1:]
        x = x.reshape(devices, -1, chunk // devices, *rest).swapaxes(0, 1)
        return lax.with_sharding_constraint(x.reshape(-1, chunk, *rest), sharding)

    return jax.tree.map(split, tree)


def from_chunks(tree: Any, mesh: Mesh) -> Any:
    """Undoes `in_chunks`: [K, chunk, ...] -> [K * chunk, ...] in the order of before."""
    devices = mesh.shape["data"]
    sharding = NamedSharding(mesh, PartitionSpec("data"))

    def join(x):
        count, chunk, *rest = x.shape
        x = x.reshape(count, devices, chunk // devices, *rest).swapaxes(0, 1)
        return lax.with_sharding_constraint(x.reshape(count * chunk, *rest), sharding)

    return jax.tree.map(join, tree)
