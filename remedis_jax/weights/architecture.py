"""Which tensors a network consists of: names and shapes, without building or tracing it.

Names are those of our modules, which are those of the BiT .npz files without "resnet/". Reading a
file of weights, whoever wrote it, comes down to comparing its names and shapes with these.
"""

import re
from collections.abc import Mapping
from typing import Any

from remedis_jax.errors import UserError
from remedis_jax.models.bit import UNITS, BiTSpec
from remedis_jax.models.case_head import HeadSpec, case_head_shapes

Shape = tuple[int, ...]

ROOT = "root_block/standardized_conv2d/kernel"
HEAD_KERNEL, HEAD_BIAS = "dense/kernel", "dense/bias"
_UNIT = re.compile(r"block(\d+)/unit(\d+)/")


def encoder_spec(card: Mapping[str, Any]) -> BiTSpec:
    """The network that an artefact's card describes.

    Raises:
        UserError: The card describes none.
    """
    encoder = card.get("encoder")
    if not isinstance(encoder, Mapping) or not isinstance(encoder.get("name"), str):
        raise UserError("The card describes no encoder.", "Give weights of this project.")
    return BiTSpec.from_name(
        encoder["name"],
        stem=encoder.get("stem", "bit"),
        compute_dtype=encoder.get("compute_dtype", "float32"),
        final_norm=encoder.get("final_norm", True),
        value_range=_value_range(card),
    )


def _value_range(card: Mapping[str, Any]) -> tuple[float, float]:
    try:
        low, high = card["preprocessing"]["value_range"]
        return float(low), float(high)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            "The card does not say which values the network reads.", "Make the artefact again."
        ) from error


def encoder_card(spec: BiTSpec) -> dict[str, Any]:
    """The card's description of a network, which `encoder_spec` reads."""
    return {
        "name": spec.name,
        "stem": spec.stem,
        "compute_dtype": spec.compute_dtype,
        "final_norm": spec.final_norm,
    }


def encoder_shapes(spec: BiTSpec) -> dict[str, Shape]:
    """Names and shapes of an encoder's parameters, in the order in which data pass them.

    Within a branch GroupNorm comes before the convolution that it precedes, gamma before beta, and
    a projection before the convolution beside it.
    """
    base = int(64 * spec.width)
    side = 7 if spec.stem == "bit" else 3
    shapes: dict[str, Shape] = {ROOT: (side, side, 3, base)}
    channels = base

    def norm(prefix: str, size: int) -> None:
        shapes[f"{prefix}group_norm/gamma"] = (size,)
        shapes[f"{prefix}group_norm/beta"] = (size,)

    for block, units in enumerate(UNITS[spec.depth], 1):
        width = base * 2 ** (block - 1)
        for unit in range(1, units + 1):
            prefix = f"block{block}/unit{unit:02d}"
            norm(f"{prefix}/a/", channels)
            if unit == 1 and (channels != 4 * width or block > 1):
                shapes[f"{prefix}/a/proj/standardized_conv2d/kernel"] = (
                    1, 1, channels, 4 * width,
                )  # fmt: skip
            shapes[f"{prefix}/a/standardized_conv2d/kernel"] = (1, 1, channels, width)
            norm(f"{prefix}/b/", width)
            shapes[f"{prefix}/b/standardized_conv2d/kernel"] = (3, 3, width, width)
            norm(f"{prefix}/c/", width)
            shapes[f"{prefix}/c/standardized_conv2d/kernel"] = (1, 1, width, 4 * width)
            channels = 4 * width
    if spec.final_norm:
        norm("", channels)
    return shapes


def head_shapes(spec: BiTSpec, classes: int) -> dict[str, Shape]:
    """Names and shapes of a linear classifier on the pooled features."""
    return case_head_shapes(HeadSpec(classes), spec.output_dim)


def infer_spec(shapes: Mapping[str, Shape], source: str = "The file") -> BiTSpec:
    """The BiT network that tensors of these names and shapes belong to.

    Args:
        shapes: Encoder parameters by our names; the final GroupNorm may be absent.
        source: What to call their origin in an error.

    Raises:
        UserError: They are no BiT, or a parameter is missing, left over or of another shape.
    """
    root = shapes.get(ROOT)
    if root is None or len(root) != 4 or root[:3] != (7, 7, 3):
        found = "absent" if root is None else f"of shape {tuple(root)}"
        raise UserError(
            f"{source} holds no BiT network: {ROOT} is {found} where (7, 7, 3, C) is expected.",
            "Give weights of a BiT ResNet-v2.",
        )
    units: dict[int, set[int]] = {}
    for name in shapes:
        if match := _UNIT.match(name):
            units.setdefault(int(match[1]), set()).add(int(match[2]))
    counts = tuple(len(units[block]) for block in sorted(units))
    depths = {value: depth for depth, value in UNITS.items()}
    if counts not in depths:
        raise UserError(
            f"{source} holds no known BiT network: its blocks have {counts or 'no'} units.",
            f"Known are {', '.join(f'{d}: {u}' for d, u in UNITS.items())}.",
        )
    spec = BiTSpec(
        depth=depths[counts], width=root[3] / 64, final_norm="group_norm/gamma" in shapes
    )
    check_shapes(encoder_shapes(spec), shapes, f"{source} (a {spec.name} by its first layer)")
    return spec


def check_shapes(expected: Mapping[str, Shape], found: Mapping[str, Shape], source: str) -> None:
    """Raises UserError unless names and shapes are exactly the expected ones."""
    missing = [name for name in expected if name not in found]
    left_over = sorted(name for name in found if name not in expected)
    wrong = [
        f"{name} is {tuple(found[name])} and not {tuple(shape)}"
        for name, shape in expected.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        for what, names in (
            ("missing", missing),
            ("left over", left_over),
            ("of another shape", wrong),
        )
        if names
    ]
    if problems:
        raise UserError(
            f"{source}: tensors do not fit the network: {'; '.join(problems)}.",
            "Give the weights of that network whole, or name what to leave out.",
        )
