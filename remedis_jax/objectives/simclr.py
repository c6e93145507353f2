"""SimCLR (Chen et al. 2020): two augmented views of one image attract, all others repel.

Encoder -> projection head -> NT-Xent over the global batch. Defaults are those of the REMEDIS code
(temperature 0.1, two-layer head of 128, google-research/medical-ai-research-foundations). At scale
the method reaches 69.1% linear-probe accuracy on ImageNet with ResNet-50 (v1, batch 4096).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from remedis_jax.augment import Recipe
from remedis_jax.models.bit import BiT, BiTSpec, to_bit_input
from remedis_jax.models.heads import ProjectionHead
from remedis_jax.models.parameters import initialise
from remedis_jax.objectives.nt_xent import nt_xent


@dataclasses.dataclass(frozen=True)
class SimCLR:
    """The SimCLR objective; see `objectives.interface.Objective` for the methods.

    Attributes:
        encoder: The network.
        recipe: Augmentation that makes one view of one image.
        view_size: Height and width of a view in pixels.
        mesh: Mesh that the batch is sharded over (axis "data").
        temperature: Of NT-Xent (official-code: 0.1).
        head_layers: Dense layers of the projection head; 2 = v1 and REMEDIS, 3 = v2.
        head_dim: Dimension of the embeddings (official-code: 128).
        convention: "sum" (official-code) or "mean" of the two directions.
    """

    encoder: BiTSpec
    recipe: Recipe
    view_size: int
    mesh: Mesh
    temperature: float = 0.1
    head_layers: int = 2
    head_dim: int = 128
    convention: str = "sum"

    @property
    def projection_head(self) -> ProjectionHead:
        return ProjectionHead(self.head_dim, self.head_layers)

    def init(self, seed, image_shape):
        view = jax.ShapeDtypeStruct((2, self.view_size, self.view_size, 3), "float32")
        encoder = initialise(BiT(self.encoder), seed, view)
        features = jax.ShapeDtypeStruct((2, self.encoder.output_dim), "float32")
        head = initialise(self.projection_head, seed, features, train=True)
        params = {"encoder": encoder["params"], "projection_head": head["params"]}
        return params, {"projection_head": head["batch_stats"]}

    def loss(self, params, model_state, batch, key):
        pairs = batch["image"].shape[0]
        # One key per view of each example, so that what an example becomes depends on its place in
        # the global batch alone and not on the number of devices. The two views of an example stay
        # neighbours: concatenating [first views; second views] would move images between devices.
        keys = jax.random.split(key, (pairs, 2)).reshape(2 * pairs)
        images = jnp.repeat(batch["image"], 2, axis=0)
        views = self.recipe(keys, images, self.view_size)
        features = BiT(self.encoder).apply({"params": params["encoder"]}, to_bit_input(views))
        # BatchNorm sees the 2N rows of both views together (official-code).
        projected, updates = self.projection_head.apply(
            {
                "params": params["projection_head"],
                "batch_stats": model_state["projection_head"],
            },
            features,
            train=True,
            mutable=["batch_stats"],
        )
        projected = projected.reshape(pairs, 2, -1)
        loss, metrics = nt_xent(
            projected[:, 0],
            projected[:, 1],
            temperature=self.temperature,
            mesh=self.mesh,
            convention=self.convention,
        )
        return loss, ({"projection_head": updates["batch_stats"]}, metrics)

    def after_step(self, params, model_state, ema_params):
        return model_state
