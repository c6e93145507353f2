"""The preprocessing contract: how an image becomes what the network of an artefact reads.

It travels inside the artefact and is applied by everything that feeds the network: evaluation,
embedding, the service, exports. Two parts: on the host an image of any size becomes square
(`prepare`); on the accelerator, inside the compiled program, come what is left of the resampling
and the value range (`to_network`).
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from remedis_jax.augment import get_recipe
from remedis_jax.data.decode import decode_pixels
from remedis_jax.data.reading import Reading
from remedis_jax.data.resample import Resampling
from remedis_jax.errors import UserError
from remedis_jax.models.bit import VALUE_RANGES, BiTSpec, to_bit_input


@dataclasses.dataclass(frozen=True)
class Contract:
    """What has to be done to an image before the network, and what comes out.

    Attributes:
        channels: 3 for colour, 1 for grey images. Grey images are repeated to three channels,
            colour is refused where 1 is wanted unless `to_grey`.
        to_grey: Reduce colour to luma where `channels` is 1.
        host: How an image of any size becomes square.
        device: What is done to the square image in the compiled program: the name of an
            augmentation recipe that is not random, and its options. None for nothing.
        size: Side in pixels of what the network reads.
        value_range: Black and white of what the network reads.
        output_dim: Length of the feature vector.
        pooling: How the feature map becomes a vector; "mean" over positions.
        bits: As `window`, `frames` and `reduced`: see `data.reading.Reading`.

    Raises:
        UserError: A value is out of range.
    """

    channels: int
    to_grey: bool
    host: Resampling
    device: tuple[str, tuple[tuple[str, Any], ...]] | None
    size: int
    output_dim: int
    value_range: tuple[float, float] = (-1.0, 1.0)
    pooling: str = "mean"
    bits: int = 8
    window: str | tuple[float, float] = "file"
    frames: str = "error"
    reduced: bool = False

    def __post_init__(self):
        if isinstance(self.window, list):  # as JSON has it
            object.__setattr__(self, "window", tuple(self.window))
        if (
            self.channels not in (1, 3)
            or not isinstance(self.to_grey, bool)
            or self.value_range not in VALUE_RANGES
            or self.pooling != "mean"
            or not all(isinstance(n, int) and n > 0 for n in (self.size, self.output_dim))
            or (self.device is None and self.host.size != self.size)
        ):
            raise UserError(
                f"{self} is no preprocessing contract.",
                "channels is 1 or 3, value_range [-1, 1] or [0, 1], pooling 'mean'; without a step "
                "on the device the host's size is the network's.",
            )
        if self.device is not None and get_recipe(self.device[0], **dict(self.device[1])).is_random:
            raise UserError(
                f"Recipe {self.device[0]!r} is random and cannot be part of a contract.",
                "Use 'eval' with options that are not random.",
            )
        if self.reading.reduced and not self.host.antialias:
            raise UserError(
                "A contract cannot reduce JPEGs and then resample them without antialias.",
                "Set reduced to false.",
            )

    @property
    def reading(self) -> Reading:
        """How images are read."""
        return Reading(
            self.channels, self.to_grey, self.bits, self.window, self.frames, self.reduced
        )

    @property
    def dtype(self) -> np.dtype:
        """Of what `prepare` returns: uint8, uint16, or float32."""
        if not self.host.antialias:
            return np.dtype(np.float32)
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Contract":
        """Reads what `to_json` wrote.

        Raises:
            UserError: A field is missing, unknown or out of range.
        """
        try:
            fields = dict(values)
            fields["host"] = Resampling(**fields["host"])
            low, high = fields["value_range"]
            fields["value_range"] = (float(low), float(high))
            device = fields["device"]
            fields["device"] = device and _recipe_key(device["recipe"], device["options"])
            return cls(**fields)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"The preprocessing contract in the card cannot be read ({error!r}).",
                "Make the artefact again.",
            ) from error

    def to_json(self) -> dict[str, Any]:
        """JSON values, for the card."""
        values = dataclasses.asdict(self)
        values["value_range"] = list(self.value_range)
        if self.device is not None:
            name, options = self.device
            values["device"] = {"recipe": name, "options": dict(options)}
        return values

    def prepare(
        self,
        image: bytes | str | os.PathLike | np.ndarray,
        name: str | None = None,
        frame: int | None = None,
    ) -> np.ndarray:
        """An image in the form that `to_network` takes, by the rules of `data.decode`.

        Args:
            image: Path, bytes of a file, or pixels; see `data.decode.decode_pixels`.
            name: What to call it in an error.
            frame: Which image of a file of several; see `data.decode.decode_pixels`.

        Returns:
            `dtype` [host.size, host.size, channels]; floats are in [0, 1].

        Raises:
            UserError: It cannot be decoded, or the contract refuses it.
        """
        needed = math.ceil(self.host.size / self.host.crop_proportion)
        pixels = decode_pixels(image, self.reading, name=name, frame=frame, at_least=needed)
        return self.host(pixels, fast=self.reduced)

    def to_network(self, prepared: jax.Array) -> jax.Array:
        """What the network reads; for use inside a compiled program.

        Args:
            prepared: [B, host.size, host.size, channels], as from `prepare`.

        Returns:
            float32 [B, size, size, 3] in `value_range`.
        """
        if self.device is not None:
            name, options = self.device
            view = get_recipe(name, **dict(options))(None, prepared, self.size)
        elif prepared.dtype in (jnp.uint8, jnp.uint16):
            view = prepared.astype(jnp.float32) * (1 / jnp.iinfo(prepared.dtype).max)
        else:
            view = prepared
        return to_bit_input(view, self.value_range)

    def sentences(self) -> list[str]:
        """The contract in words, for people."""
        host = self.host
        box = {
            "squash": "squashed to a square",
            "pad": "padded with black to a square",
            "crop": "cut to its central square",
        }[host.fit]
        kept = "" if host.crop_proportion == 1 else f", the central {host.crop_proportion:g} kept"
        aliasing = "with" if host.antialias else "without"
        how = "mean over areas" if self.reduced else f"{host.kernel}, {aliasing} antialias"
        lines = [
            f"{self.bits}-bit "
            + ("colour; grey images are repeated to three channels" if self.channels == 3 else
               "grey; colour is " + ("reduced to luma" if self.to_grey else "refused")),
            f"{box}{kept}, resampled to {host.size} pixels ({how})",
        ]  # fmt: skip
        if self.window == "full":
            lines.append("DICOM: the whole range of values, whatever window the file names")
        elif self.window != "file":
            lines.append("DICOM: window centre {:g}, width {:g}".format(*self.window))
        if self.frames != "error":
            lines.append(f"of files with several images, the {self.frames} one")
        if self.reduced:
            lines.append("JPEGs decoded at a half or less, where that is large enough")
        if self.device is not None:
            recipe = get_recipe(self.device[0], **dict(self.device[1]))
            part = {
                "center": f"central {recipe.center_proportion:g} of it",
                "resize": "whole of it",
            }[recipe.crop]
            lines.append(
                f"the {part} resampled to {self.size} pixels (bicubic, "
                f"{'with' if recipe.antialias else 'without'} antialias)"
            )
        lines.append(f"values from {self.value_range[0]:g} (black) to {self.value_range[1]:g}")
        lines.append(f"{self.output_dim} features, the {self.pooling} over positions")
        return lines


def recipe_contract(
    *,
    reading: Reading,
    working_size: int,
    fit: str,
    options: Mapping[str, Any],
    size: int,
    spec: BiTSpec,
) -> Contract:
    """The contract of a network trained here: Pillow to the working size, then recipe 'eval'."""
    return Contract(
        **reading.to_json(),
        host=Resampling(working_size, fit),
        device=_recipe_key("eval", options),
        size=size,
        output_dim=spec.output_dim,
        value_range=spec.value_range,
    )


def _recipe_key(name: str, options: Mapping[str, Any]) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """Hashable, so that a contract can be the key of a compiled program."""
    frozen = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    return str(name), tuple(sorted(frozen.items()))
