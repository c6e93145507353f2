"""BiT: the ResNet-v2 of "Big Transfer" (Kolesnikov et al. 2020), which REMEDIS starts from.

Pre-activation bottleneck units with GroupNorm in place of BatchNorm and weight-standardised
convolutions (google-research/big_transfer; He et al. 2016 for the pre-activation unit, Qiao et al.
2019 for weight standardisation, Wu and He 2018 for GroupNorm). Parameter paths are those of the
published .npz files, e.g. `block1/unit01/a/standardized_conv2d/kernel`.

Details that change numbers and are easy to get wrong:

- the root's max pool pads with zeros, not with minus infinity;
- all padding is explicit, so odd sizes differ from TensorFlow's 'SAME';
- GroupNorm and weight standardisation use the two-pass variance (mean of squared deviations) in
  float32, with eps 1e-5 and 1e-10; the one-pass E[x^2]-E[x]^2 loses all digits when the mean of a
  channel is large;
- the projection shortcut reads the *pre-activated* input, the identity shortcut the raw one;
- the stride sits on the 3x3 convolution.
"""

import dataclasses
import re

import flax.linen as nn
import jax
import jax.numpy as jnp

from remedis_jax.errors import UserError
from remedis_jax.models.conv import conv2d
from remedis_jax.models.group_norm import group_norm
from remedis_jax.models.parameters import LECUN_NORMAL, ONES, ZEROS, declare
from remedis_jax.models.pooling import root_max_pool
from remedis_jax.models.standardise import standardise

# Units per stage. 50, 101, 152: bit. 26 and 14: ours, the same units fewer times, for small data.
UNITS = {
    14: (1, 1, 1, 1),
    26: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
STEMS = ("bit", "cifar", "cifar_stride2")
VALUE_RANGES = ((-1.0, 1.0), (0.0, 1.0))
REMATS = ("none", "unit", "stage")


@dataclasses.dataclass(frozen=True)
class BiTSpec:
    """Which BiT network: everything that decides its shapes and its arithmetic.

    Attributes:
        depth: 14, 26, 50, 101 or 152.
        width: Multiplier of all channel counts; 1, 2, 3 and 4 are published, any positive
            multiple of 1/16 works.
        stem: "bit" (7x7 stride 2, zero-padded max pool; bit), "cifar" (3x3 stride 1, no pool;
            official-code of SimCLR for images of 32 pixels) or "cifar_stride2" (3x3 stride 2, no
            pool; ours, four times cheaper).
        compute_dtype: "float32" or "bfloat16" for convolutions. Normalisation, weight
            standardisation and the final pooling are float32 either way.
        final_norm: Whether the last GroupNorm and ReLU are part of the encoder (bit). False for
            networks whose features were taken before them, as some published ones were.
        value_range: Black and white of the images that the network reads: (-1, 1) (bit), or (0, 1)
            for networks that were trained on unscaled images.
    """

    depth: int = 50
    width: float = 1
    stem: str = "bit"
    compute_dtype: str = "float32"
    final_norm: bool = True
    value_range: tuple[float, float] = (-1.0, 1.0)

    def __post_init__(self):
        if self.value_range not in VALUE_RANGES:
            raise UserError(
                f"No network reads values in {self.value_range}.", "Use (-1.0, 1.0) or (0.0, 1.0)."
            )
        if self.depth not in UNITS:
            raise UserError(
                f"There is no BiT of depth {self.depth}.",
                f"Use one of {', '.join(map(str, UNITS))}, e.g. r50x1.",
            )
        if self.width <= 0 or (self.width * 16) % 1:
            raise UserError(
                f"Width multiplier {self.width} gives no whole number of channels.",
                "Use a positive multiple of 1/16, e.g. 0.25, 1, 2.",
            )
        if self.stem not in STEMS:
            raise UserError(f"There is no stem {self.stem!r}.", f"Use one of {', '.join(STEMS)}.")
        if self.compute_dtype not in ("float32", "bfloat16"):
            raise UserError(
                f"compute_dtype {self.compute_dtype!r} is not supported.",
                "Use float32 or bfloat16.",
            )

    @classmethod
    def from_name(cls, name: str, **kwargs) -> "BiTSpec":
        """Reads names such as "r50x1", "R152x2", "r14x0.25".

        Raises:
            UserError: The name is not of that form, or the depth is unknown.
        """
        match = re.fullmatch(r"[rR](\d+)x(\d+(?:\.\d+)?)", name)
        if not match:
            raise UserError(
                f"{name!r} is not the name of a BiT network.",
                "Write rDEPTHxWIDTH, e.g. r50x1 or r152x2.",
            )
        return cls(depth=int(match[1]), width=float(match[2]), **kwargs)

    @property
    def name(self) -> str:
        return f"r{self.depth}x{self.width:g}"

    @property
    def output_dim(self) -> int:
        """Length of the pooled feature vector: 2048 for R50x1, 4096 for R152x2."""
        return int(64 * self.width) * 4 * 2 ** (len(UNITS[self.depth]) - 1)


class StdConv(nn.Module):
    """Weight-standardised convolution without bias."""

    features: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = standardise(declare(self, "kernel", LECUN_NORMAL, shape))
        return conv2d(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            stride=self.stride,
            padding=self.padding,
        )


def group_count(channels: int) -> int:
    """32 groups (bit); for fewer than 64 channels, which no published BiT has, four a group.

    With one channel a group GroupNorm would erase every channel's mean (ours).
    """
    return 32 if channels >= 64 else max(1, channels // 4)


class GroupNorm(nn.Module):
    """GroupNorm with its gamma and beta, see `group_norm`."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        gamma = declare(self, "gamma", ONES, (channels,))
        beta = declare(self, "beta", ZEROS, (channels,))
        return group_norm(x, gamma, beta, group_count(channels)).astype(self.dtype)


class Shortcut(nn.Module):
    """The 1x1 projection that brings a unit's input to the shape of its output."""

    features: int
    stride: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return StdConv(
            self.features, 1, self.stride, dtype=self.dtype, name="standardized_conv2d"
        )(x)


class NormConv(nn.Module):
    """GroupNorm, ReLU, convolution; optionally a projection of the same activation."""

    features: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    shortcut_features: int | None = None
    shortcut_stride: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        activated = nn.relu(GroupNorm(self.dtype, name="group_norm")(x))
        projected = None
        if self.shortcut_features is not None:
            projected = Shortcut(
                self.shortcut_features, self.shortcut_stride, self.dtype, name="proj"
            )(activated)
        convolved = StdConv(
            self.features,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dtype,
            name="standardized_conv2d",
        )(activated)
        return convolved, projected


class Unit(nn.Module):
    """Pre-activation bottleneck: 1x1, 3x3 (strided), 1x1 to four times the width."""

    width: int
    stride: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = self.width * 4
        needs_projection = x.shape[-1] != features or self.stride != 1
        y, shortcut = NormConv(
            self.width,
            1,
            shortcut_features=features if needs_projection else None,
            shortcut_stride=self.stride,
            dtype=self.dtype,
            name="a",
        )(x)
        y, _ = NormConv(self.width, 3, self.stride, 1, dtype=self.dtype, name="b")(y)
        y, _ = NormConv(features, 1, dtype=self.dtype, name="c")(y)
        return y + (x if shortcut is None else shortcut)


class Stage(nn.Module):
    """Units of one resolution; the first one changes it."""

    units: int
    width: int
    stride: int
    dtype: jnp.dtype
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        unit = nn.remat(Unit) if self.remat else Unit
        for index in range(self.units):
            stride = self.stride if index == 0 else 1
            x = unit(self.width, stride, self.dtype, name=f"unit{index + 1:02d}")(x)
        return x


class Root(nn.Module):
    """The stem: a convolution and, in BiT's own form, a zero-padded max pool."""

    features: int
    stem: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.stem != "bit":
            stride = 2 if self.stem == "cifar_stride2" else 1
            return StdConv(
                self.features, 3, stride, 1, self.dtype, name="standardized_conv2d"
            )(x)
        x = StdConv(self.features, 7, 2, 3, self.dtype, name="standardized_conv2d")(x)
        return root_max_pool(x)


class BiT(nn.Module):
    """BiT encoder: images to pooled feature vectors.

    Attributes:
        spec: Which network.
        remat: What is computed again going backward instead of being kept: "none"; "unit": of each
            unit only the input is kept, which costs one forward pass more; "stage": of each stage
            only the input is kept, and while a stage is gone through backward the inputs of its
            units, which costs two (Chen et al. 2016, "Training Deep Nets with Sublinear Memory
            Cost"). It changes memory and time, not numbers, so it is no part of `spec`.

    Raises:
        UserError: There is no such `remat`.

    Call:
        images: [B, H, W, 3] float32 in `spec.value_range` (`to_bit_input` brings images there).
            Any H and W that leave at least one position after five halvings (three with a CIFAR
            stem).
        pool: False for the feature map itself.

    Returns:
        [B, 2048 * width] float32: mean over positions after the last GroupNorm and ReLU (before
        them if not `spec.final_norm`). Without pooling [B, h, w, 2048 * width].
    """

    spec: BiTSpec
    remat: str = "none"

    def __post_init__(self):
        super().__post_init__()
        if self.remat not in REMATS:
            raise UserError(
                f"There is no rematerialisation {self.remat!r}.", f"Use {', '.join(REMATS)}."
            )

    @nn.compact
    def __call__(self, images: jax.Array, *, pool: bool = True) -> jax.Array:
        dtype = jnp.dtype(self.spec.compute_dtype)
        width = int(64 * self.spec.width)
        x = Root(width, self.spec.stem, dtype, name="root_block")(images)
        stage = nn.remat(Stage) if self.remat == "stage" else Stage
        remat = self.remat != "none"
        for index, units in enumerate(UNITS[self.spec.depth]):
            stride = 1 if index == 0 else 2
            x = stage(units, width * 2**index, stride, dtype, remat, name=f"block{index + 1}")(x)
        if self.spec.final_norm:
            x = nn.relu(GroupNorm(dtype, name="group_norm")(x))
        x = x.astype(jnp.float32)
        return x.mean(axis=(1, 2)) if pool else x


def to_bit_input(
    images: jax.Array, value_range: tuple[float, float] = (-1.0, 1.0)
) -> jax.Array:
    """What BiT reads: three channels in its value range.

    Args:
        images: [B, H, W, C] float32 in [0, 1]; C is 3, or 1 for grey images.
        value_range: Of the network, see `BiTSpec`.

    Returns:
        [B, H, W, 3] float32 in `value_range`, the grey channel repeated.
    """
    if images.shape[-1] == 1:
        images = jnp.repeat(images, 3, axis=-1)
    return images * 2.0 - 1.0 if value_range == (-1.0, 1.0) else images
