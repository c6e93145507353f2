"""What sits on the encoder in self-supervision; classifiers are in `case_head`."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from remedis_jax.models.parameters import LECUN_NORMAL, ONES, ZEROS, Initializer, declare

# official-code (google-research/simclr, REMEDIS): N(0, 0.01) for every dense kernel of a head.
HEAD_NORMAL = Initializer(std=0.01)


class Dense(nn.Module):
    """Matrix product over the last axis, float32, optional bias."""

    features: int
    bias: bool = True
    kernel_init: Initializer = HEAD_NORMAL

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = x @ declare(self, "kernel", self.kernel_init, (x.shape[-1], self.features))
        if self.bias:
            bias = declare(self, "bias", ZEROS, (self.features,))
            y = y + jnp.expand_dims(bias, range(y.ndim - 1))
        return y


class BatchNorm(nn.Module):
    """BatchNorm over axis 0 of [B, C], float32, two-pass variance.

    In training the statistics are those of the *global* batch: under `jax.jit` with a sharded
    batch the mean below is a mean over all devices, as the official code computes with its
    cross-replica sums. Decay 0.9 and eps 1e-5 (official-code).
    """

    center: bool = True
    scale: bool = True
    decay: float = 0.9
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        shape = (x.shape[-1],)
        running_mean = declare(self, "mean", ZEROS, shape, "batch_stats")
        running_variance = declare(self, "var", ONES, shape, "batch_stats")
        if train:
            mean = x.mean(axis=0)
            variance = jnp.square(x - mean[None]).mean(axis=0)
            if not self.is_initializing():
                for running, now in ((running_mean, mean), (running_variance, variance)):
                    running.value = self.decay * running.value + (1 - self.decay) * now
        else:
            mean, variance = running_mean.value, running_variance.value
        y = (x - mean[None]) * lax.rsqrt(variance + self.eps)[None]
        if self.scale:
            y = y * declare(self, "gamma", ONES, shape)[None]
        if self.center:
            y = y + declare(self, "beta", ZEROS, shape)[None]
        return y


class ProjectionHead(nn.Module):
    """SimCLR's projection head (google-research/simclr, `model_util.projection_head`).

    Hidden layers: Dense -> BatchNorm with beta -> ReLU, as wide as the encoder's output. Last
    layer: Dense without bias -> BatchNorm without beta, no ReLU.

    Attributes:
        output_dim: 128 (official-code).
        layers: Dense layers in all: 2 is SimCLR v1 and REMEDIS (`num_nlh_layers=1`), 3 is v2.
        hidden_bias: A bias before the hidden BatchNorm. False in google-research/simclr, True in
            the REMEDIS code; without effect on the function, since BatchNorm subtracts it.

    Call:
        features: [B, C] float32.
        train: Whether to use (and update) batch statistics.

    Returns:
        [B, output_dim] float32, not normalised.
    """

    output_dim: int = 128
    layers: int = 2
    hidden_bias: bool = False

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool) -> jax.Array:
        x = features
        for index in range(self.layers - 1):
            x = Dense(features.shape[-1], bias=self.hidden_bias, name=f"dense_{index}")(x)
            x = nn.relu(BatchNorm(name=f"batch_normalization_{index}")(x, train=train))
        last = self.layers - 1
        x = Dense(self.output_dim, bias=False, name=f"dense_{last}")(x)
        return BatchNorm(center=False, name=f"batch_normalization_{last}")(x, train=train)


class MLP(nn.Module):
    """The multi-layer heads (projectors and predictors) of the methods other than SimCLR.

    Hidden layers: Dense -> BatchNorm (unless `batch_norm` is False) -> ReLU. Last layer: Dense, and
    what `last_norm` says.

    Attributes:
        widths: Output width of every dense layer.
        hidden_bias: Whether hidden dense layers have a bias.
        last_bias: Whether the last one has.
        batch_norm: Whether hidden layers are normalised.
        last_norm: "none", or "plain" for a BatchNorm without gamma and beta.
        kernel_init: Of all kernels.

    Call:
        x: [B, C] float32.
        train: Whether to use (and update) batch statistics.

    Returns:
        [B, widths[-1]] float32, not normalised to unit length.
    """

    widths: tuple[int, ...]
    hidden_bias: bool = False
    last_bias: bool = False
    batch_norm: bool = True
    last_norm: Literal["none", "plain"] = "none"
    kernel_init: Initializer = LECUN_NORMAL

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        last = len(self.widths) - 1
        for index, width in enumerate(self.widths):
            bias = self.last_bias if index == last else self.hidden_bias
            x = Dense(width, bias, self.kernel_init, name=f"dense_{index}")(x)
            norm = f"batch_normalization_{index}"
            if index < last:
                x = nn.relu(BatchNorm(name=norm)(x, train=train) if self.batch_norm else x)
            elif self.last_norm == "plain":
                x = BatchNorm(center=False, scale=False, name=norm)(x, train=train)
        return x
