"""The preprocessing contract in the words of timm and of transformers, and back.

Both libraries describe one resize and one central crop, in bytes with antialias. A contract with
more to it (padding with black, two resamplings, no antialias, colour reduced to grey) is described
as closely as they can and the difference is put into words.
"""

import math
from collections.abc import Mapping
from typing import Any

from remedis_jax.augment import get_recipe
from remedis_jax.data.resample import Resampling
from remedis_jax.errors import UserError
from remedis_jax.weights.contract import VALUE_RANGES, Contract
from remedis_jax.weights.pytorch.layouts import Layout

_CROP_MODES = {"squash": "squash", "crop": "center", "pad": "border"}
_PILLOW_NUMBERS = {"bilinear": 2, "bicubic": 3}


def mean_and_deviation(contract: Contract) -> tuple[list[float], list[float]]:
    """The per-channel `mean` and `std` that bring [0, 1] to the contract's value range."""
    low, high = contract.value_range
    return [-low / (high - low)] * 3, [1 / (high - low)] * 3


def timm_preprocessing(contract: Contract) -> dict[str, Any]:
    """The fields of a timm `pretrained_cfg` that describe the input."""
    fit, proportion, kernel = _one_resize(contract)
    mean, deviation = mean_and_deviation(contract)
    return {
        "input_size": [3, contract.size, contract.size],
        "fixed_input_size": False,
        "interpolation": kernel,
        "crop_pct": proportion,
        "crop_mode": _CROP_MODES[fit],
        "mean": mean,
        "std": deviation,
    }


def hf_preprocessing(contract: Contract) -> dict[str, Any]:
    """A transformers `preprocessor_config.json`."""
    fit, proportion, kernel = _one_resize(contract)
    mean, deviation = mean_and_deviation(contract)
    edge = math.floor(contract.size / proportion)
    square = {"height": contract.size, "width": contract.size}
    return {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": True,
        # It cannot pad: such images have to come in the right size.
        "do_resize": fit != "pad",
        "size": {"shortest_edge": edge} if fit == "crop" else {"height": edge, "width": edge},
        "resample": _PILLOW_NUMBERS[kernel],
        "do_center_crop": fit == "crop" or proportion < 1,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": deviation,
    }


def differences(contract: Contract, layout: Layout) -> list[str]:
    """What a contract asks for that the library's own preprocessing does otherwise, in words."""
    host, lines = contract.host, []
    if contract.device is not None:
        lines.append(
            f"images are resampled twice, to {host.size} and then to {contract.size} pixels, where "
            "one resize is described"
        )
    if host.fit == "crop" or _one_resize(contract)[1] < 1:
        lines.append("images are cropped before and not after the resize: borders differ slightly")
    if host.fit == "pad":
        lines.append(
            "images are padded with black; "
            + ("timm pads with the mean" if layout == "timm" else "pad them yourself")
        )
    if not host.antialias:
        lines.append("images are reduced without antialias, as TensorFlow does")
    if contract.channels == 1:
        lines.append(
            "images are grey, "
            + ("colour is reduced to luma" if contract.to_grey else "colour is refused")
            + "; colour images would be read as colour"
        )
    if contract.reduced:
        lines.append(
            "large JPEGs are decoded at a reduced scale and averaged over areas, which is close to "
            "an antialiased resize and not equal to it"
        )
    if contract.bits == 16:
        lines.append("images of more than 8 bits keep their depth; libraries read them with 8")
    if contract.window != "file":
        lines.append("DICOM images are shown through a window of the contract's own")
    return lines


def _one_resize(contract: Contract) -> tuple[str, float, str]:
    """(fit, kept proportion, kernel) of a single resize that comes closest to the contract."""
    host = contract.host
    proportion = host.crop_proportion
    if contract.device is not None:
        recipe = get_recipe(contract.device[0], **dict(contract.device[1]))
        if recipe.crop == "center":
            proportion *= recipe.center_proportion
        return host.fit, proportion, "bicubic"
    return host.fit, proportion, host.kernel


def contract_of_timm(config: Mapping[str, Any], output_dim: int, source: str) -> Contract | None:
    """The contract that a timm `pretrained_cfg` describes; None if it pads, which is done in grey.

    Raises:
        UserError: It describes what no contract can.
    """
    channels, height, width = config.get("input_size", (3, 224, 224))
    modes = {theirs: ours for ours, theirs in _CROP_MODES.items()}
    mode = config.get("crop_mode", "center")
    if (channels, height) != (3, width) or mode not in modes:
        raise UserError(
            f"{source}: input_size {[channels, height, width]} with crop_mode {mode!r} is no square"
            " colour image.",
            f"Only these, and crop_mode {', '.join(modes)}, are known here.",
        )
    if modes[mode] == "pad":
        return None
    host = Resampling(
        int(height),
        modes[mode],
        float(config.get("crop_pct", 0.875)),
        _kernel(config.get("interpolation", "bicubic"), source),
    )
    return _contract(host, config.get("mean"), config.get("std"), output_dim, source)


def contract_of_hf(config: Mapping[str, Any], output_dim: int, source: str) -> Contract | None:
    """The contract that a `preprocessor_config.json` describes; None if it resizes nothing.

    Raises:
        UserError: It describes what no contract can.
    """
    for key in ("do_rescale", "do_normalize"):
        if not config.get(key, True):
            raise UserError(f"{source}: {key} is false.", "The network's value range is unknown.")
    if not config.get("do_resize", True):
        return None
    resized = config.get("size", {"shortest_edge": 224})
    if isinstance(resized, int):
        resized = {"shortest_edge": resized}
    fit = "crop" if "shortest_edge" in resized else "squash"
    edges = set(resized.values())
    cropped = config.get("crop_size", 224) if config.get("do_center_crop", True) else max(edges)
    kept = set(cropped.values()) if isinstance(cropped, Mapping) else {cropped}
    kernels = {number: name for name, number in _PILLOW_NUMBERS.items()}
    if len(edges) != 1 or len(kept) != 1 or min(edges) < max(kept):
        raise UserError(
            f"{source}: size {resized} and crop_size {cropped} describe no square image.",
            "Only these can be described here.",
        )
    size = kept.pop()
    kernel = _kernel(kernels.get(config.get("resample", 3), "another kernel"), source)
    host = Resampling(size, fit, size / edges.pop(), kernel)
    return _contract(host, config.get("image_mean"), config.get("image_std"), output_dim, source)


def _kernel(name: str, source: str) -> str:
    if name not in _PILLOW_NUMBERS:
        raise UserError(
            f"{source}: images are resampled by {name!r}.",
            f"Only {' and '.join(_PILLOW_NUMBERS)} can be described here.",
        )
    return name


def _contract(host: Resampling, mean, deviation, output_dim: int, source: str) -> Contract:
    ranges = {
        (round(-m / s, 6), round((1 - m) / s, 6))
        for m, s in zip(mean or (), deviation or (), strict=False)
    }
    if len(ranges) != 1 or not ranges <= set(VALUE_RANGES):
        raise UserError(
            f"{source}: mean {mean} and std {deviation} bring images to none of the value ranges "
            f"{' and '.join(str(list(pair)) for pair in VALUE_RANGES)}.",
            "BiT reads [-1, 1] (mean and std 0.5); correct the file if it is mistaken.",
        )
    return Contract(
        channels=3,
        to_grey=False,
        host=host,
        device=None,
        size=host.size,
        output_dim=output_dim,
        value_range=ranges.pop(),
    )
