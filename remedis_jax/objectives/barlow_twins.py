"""Barlow Twins (Zbontar et al. 2021): make the two views' cross-correlation the identity.

    C = BN(z1)' BN(z2) / N        loss = sum_i (C_ii - 1)^2 + lambda sum_{i != j} C_ij^2

BN has no affine part, eps 1e-5 and the biased variance of the *global* batch, separately for each
view; C is a sum over the global batch. Both are written for the whole batch and left to the
compiler to distribute, so value and gradient are those of one device. (The authors' in-place
all-reduce is not differentiated through: with W processes their gradient is 1/W of the true one,
which LARS hides for weights but not for biases and norms. Their published results are of 16 GPUs,
so what they call a rate of 0.0048 for these is, by that inference, 0.0003 for the true gradient.)

Defaults: authors-code: lambda 0.0051, projector 8192-8192-8192, BYOL's augmentation, LARS 0.2 for
weights and 0.0048 / 16 for biases and norms, x batch / 256. Linear probe on ImageNet: 73.5%
(ResNet-50, batch 2048, 1000 epochs), 71.4% at 300 epochs.
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


def barlow_twins_loss(
    z1: jax.Array, z2: jax.Array, *, off_diagonal_weight: float = 0.0051
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Redundancy reduction between the embeddings of two views.

    Args:
        z1: [N, d] of the first views, any float dtype.
        z2: [N, d] of the second views.
        off_diagonal_weight: lambda.

    Returns:
        The float32 scalar loss and its two parts, `on_diagonal` and `off_diagonal` (unweighted).

    Raises:
        ValueError: Shapes differ.
    """
    if z1.shape != z2.shape or z1.ndim != 2:
        raise ValueError(f"views must be two [N, d] arrays of one shape: {z1.shape}, {z2.shape}")

    def standardise(z):
        z = z.astype(jnp.float32)
        centred = z - z.mean(axis=0)[None]
        return centred * lax.rsqrt(jnp.square(centred).mean(axis=0) + 1e-5)[None]

    correlation = jnp.matmul(
        standardise(z1).T, standardise(z2), precision=lax.Precision.HIGHEST
    ) / len(z1)
    on_diagonal = jnp.square(jnp.diagonal(correlation) - 1).sum()
    # A mask and not a difference of sums, which would lose the digits of a small remainder.
    is_diagonal = jnp.eye(correlation.shape[0], dtype=bool)
    off_diagonal = jnp.where(is_diagonal, 0.0, jnp.square(correlation)).sum()
    metrics = {"on_diagonal": on_diagonal, "off_diagonal": off_diagonal}
    return on_diagonal + off_diagonal_weight * off_diagonal, metrics


@dataclasses.dataclass(frozen=True)
class BarlowTwins:
    """The Barlow Twins objective; see `objectives.interface.Objective` for the methods.

    Attributes:
        views: The network and its two views.
        off_diagonal_weight: lambda.
        projector: Widths of the projector's layers.
    """

    views: Views
    off_diagonal_weight: float = 0.0051  # authors-code
    projector: tuple[int, ...] = (8192, 8192, 8192)  # authors-code

    keys_per_example: ClassVar[int] = 2
    decomposes: ClassVar[bool] = False

    @property
    def projection_head(self) -> MLP:
        return MLP(tuple(self.projector), kernel_init=TORCH_LINEAR)

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
        loss, metrics = barlow_twins_loss(
            projected[:, 0], projected[:, 1], off_diagonal_weight=self.off_diagonal_weight
        )
        return loss, ({"batch_stats": statistics}, metrics | spread(features, projected))

    def after_step(self, params, model_state):
        return model_state

    def chance_loss(self, batch_size):
        """d on the diagonal, and what a correlation of N independent pairs is off it: 1/N."""
        d = self.projector[-1]
        return d + self.off_diagonal_weight * d * (d - 1) / batch_size
