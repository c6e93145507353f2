"""VICReg (Bardes, Ponce and LeCun 2022): variance, invariance and covariance, no negatives.

    loss = invariance * mean (z1 - z2)^2
         + variance * (v(z1) + v(z2)) / 2,   v(z) = mean_j max(0, 1 - sqrt(var(z_j) + 1e-4))
         + covariance * (c(z1) + c(z2)),     c(z) = sum_{i != j} cov(z)_ij^2 / d

Variance and covariance are unbiased and of the *global* batch, written for the whole batch and left
to the compiler to distribute.

Defaults: authors-code (facebookresearch/vicreg, main_vicreg.py): 25, 25, 1, expander
8192-8192-8192, Barlow Twins' views. Linear probe on ImageNet: 73.2% (ResNet-50, 1000 epochs, their
README); lightly's re-implementation has 63.0% at 100 epochs and batch 256.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from remedis_jax.models.heads import MLP
from remedis_jax.models.parameters import TORCH_LINEAR
from remedis_jax.objectives.heads import apply_per_view, init_head, init_statistics
from remedis_jax.objectives.spread import spread
from remedis_jax.objectives.views import Views


def vicreg_loss(
    z1: jax.Array,
    z2: jax.Array,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Variance-invariance-covariance regularisation of the embeddings of two views.

    Args:
        z1: [N, d] of the first views, any float dtype, N at least 2.
        z2: [N, d] of the second views.
        invariance: Weight of the squared distance between views.
        variance: Weight of the hinge on the standard deviation.
        covariance: Weight of the squared covariances.

    Returns:
        The float32 scalar loss and its unweighted parts `invariance`, `variance`, `covariance`.

    Raises:
        ValueError: Shapes differ or N < 2.
    """
    if z1.shape != z2.shape or z1.ndim != 2 or len(z1) < 2:
        raise ValueError(f"views must be two [N >= 2, d] arrays: {z1.shape}, {z2.shape}")
    count, dim = z1.shape
    z1, z2 = z1.astype(jnp.float32), z2.astype(jnp.float32)
    is_diagonal = jnp.eye(dim, dtype=bool)
    hinges, covariances = [], []
    for z in (z1, z2):
        centred = z - z.mean(axis=0)[None]
        deviation = jnp.sqrt(jnp.square(centred).sum(axis=0) / (count - 1) + 1e-4)
        hinges.append(jax.nn.relu(1 - deviation).mean())
        product = jnp.matmul(centred.T, centred, precision=lax.Precision.HIGHEST)
        squared = jnp.square(product / (count - 1))
        covariances.append(jnp.where(is_diagonal, 0.0, squared).sum() / dim)
    parts = {
        "invariance": jnp.square(z1 - z2).mean(),
        "variance": (hinges[0] + hinges[1]) / 2,
        "covariance": covariances[0] + covariances[1],
    }
    loss = (
        invariance * parts["invariance"]
        + variance * parts["variance"]
        + covariance * parts["covariance"]
    )
    return loss, parts


@dataclasses.dataclass(frozen=True)
class VICReg:
    """The VICReg objective; see `objectives.interface.Objective` for the methods.

    Attributes:
        views: The network and its two views.
        invariance: Weight of the squared distance between views.
        variance: Weight of the hinge on the standard deviation.
        covariance: Weight of the squared covariances.
        projector: Widths of the projector's layers.
    """

    views: Views
    invariance: float = 25.0  # authors-code
    variance: float = 25.0  # authors-code
    covariance: float = 1.0  # authors-code
    projector: tuple[int, ...] = (8192, 8192, 8192)  # authors-code

    keys_per_example: ClassVar[int] = 2
    decomposes: ClassVar[bool] = False

    @property
    def projection_head(self) -> MLP:
        return MLP(tuple(self.projector), hidden_bias=True, kernel_init=TORCH_LINEAR)

    def init_params(self, seed, image_shape):
        inputs = self.views.feature_shape()
        return {
            "encoder": self.views.init_encoder(seed),
            "projection_head": init_head(self.projection_head, seed, inputs, "projection_head"),
        }

    def init_state(self, seed, params):
        return {"batch_stats": init_statistics(self.projection_head, self.views.feature_shape())}

    def loss(self, params, model_state, batch, keys):
        features, _ = self.views.features(params["encoder"], batch["image"], keys)
        projected, statistics = apply_per_view(
            self.projection_head, params["projection_head"], model_state["batch_stats"], features
        )
        loss, metrics = vicreg_loss(
            projected[:, 0],
            projected[:, 1],
            invariance=self.invariance,
            variance=self.variance,
            covariance=self.covariance,
        )
        return loss, ({"batch_stats": statistics}, metrics | spread(features, projected))

    def after_step(self, params, model_state):
        return model_state

    def chance_loss(self, batch_size):
        # Depends on the scale of the first embeddings.
        return None
