"""Names and axes of BiT's tensors in timm and in Hugging Face transformers.

Three dialects of one network (timm `resnetv2_50x1_bit`, transformers `BitForImageClassification`):

    ours (the BiT .npz)                         timm                              transformers
    root_block/standardized_conv2d/kernel       stem.conv.weight                  embedder.convolution.weight
    block2/unit03/b/group_norm/gamma            stages.1.blocks.2.norm2.weight    encoder.stages.1.layers.2.norm2.weight
    block2/unit03/b/standardized_conv2d/kernel  stages.1.blocks.2.conv2.weight    encoder.stages.1.layers.2.conv2.weight
    block2/unit01/a/proj/...                    stages.1.blocks.0.downsample.conv.weight
    group_norm/beta                             norm.bias                         norm.bias
    dense/kernel, dense/bias (the head)         head.fc.{weight,bias}             classifier.1.{weight,bias}

A transformers classifier has "bit." before its encoder's names, a bare `BitModel` does not. Kernels
are HWIO here and OIHW there; timm's head is a 1x1 convolution, ours and transformers' a matrix.
"""  # noqa: E501

import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np

from remedis_jax.errors import UserError
from remedis_jax.models.bit import UNITS, BiTSpec
from remedis_jax.weights.architecture import (
    HEAD_BIAS,
    HEAD_KERNEL,
    ROOT,
    check_shapes,
    encoder_shapes,
    head_shapes,
)

Layout = Literal["timm", "hf"]
LAYOUTS = ("timm", "hf")
Shape = tuple[int, ...]

_ROOTS = {"timm": "stem.conv.weight", "hf": "embedder.convolution.weight"}
_HEADS = {"timm": "head.fc", "hf": "classifier.1"}
_BLOCKS = {"timm": "stages.{}.blocks.{}", "hf": "encoder.stages.{}.layers.{}"}
_UNIT = re.compile(r"block(\d+)/unit(\d+)/([abc])/(.+)")
_LEAVES = {"gamma": "weight", "beta": "bias"}


def torch_names(spec: BiTSpec, layout: Layout, *, head: bool) -> dict[str, str]:
    """Names of all tensors: ours (with "encoder/" or "head/") -> theirs, in network order."""
    prefix = "bit." if layout == "hf" and head else ""
    names = {
        f"encoder/{name}": prefix + _encoder_name(name, layout) for name in encoder_shapes(spec)
    }
    if head:
        names[f"head/{HEAD_KERNEL}"] = f"{_HEADS[layout]}.weight"
        names[f"head/{HEAD_BIAS}"] = f"{_HEADS[layout]}.bias"
    return names


def _encoder_name(name: str, layout: Layout) -> str:
    if name == ROOT:
        return _ROOTS[layout]
    match = _UNIT.fullmatch(name)
    if match is None:
        return f"norm.{_LEAVES[name.rsplit('/', 1)[1]]}"
    block, unit, branch, rest = match.groups()
    prefix = _BLOCKS[layout].format(int(block) - 1, int(unit) - 1)
    number = "abc".index(branch) + 1
    if rest.startswith("proj/"):
        return f"{prefix}.downsample.conv.weight"
    if rest.startswith("group_norm/"):
        return f"{prefix}.norm{number}.{_LEAVES[rest.rsplit('/', 1)[1]]}"
    return f"{prefix}.conv{number}.weight"


def torch_shape(name: str, shape: Shape, layout: Layout) -> Shape:
    """The shape that one of our tensors has in a layout."""
    if len(shape) == 4:
        return (shape[3], shape[2], shape[0], shape[1])
    if len(shape) == 2:
        return shape[::-1] + ((1, 1) if layout == "timm" else ())
    return shape


def to_torch(values: np.ndarray, layout: Layout) -> np.ndarray:
    """One of our tensors with its axes in the order of a layout, contiguous."""
    if values.ndim == 4:
        values = values.transpose(3, 2, 0, 1)
    elif values.ndim == 2:
        values = values.T[:, :, None, None] if layout == "timm" else values.T
    return np.ascontiguousarray(values)


def from_torch(values: np.ndarray, name: str) -> np.ndarray:
    """One of their tensors with its axes in our order, contiguous; `name` is ours."""
    if name == f"head/{HEAD_KERNEL}":
        values = values.reshape(values.shape[:2]).T
    elif values.ndim == 4:
        values = values.transpose(2, 3, 1, 0)
    return np.ascontiguousarray(values)


def layout_of(names: Iterable[str], source: str) -> Layout:
    """Which layout a state dict has, by the name of its first convolution.

    Raises:
        UserError: It is neither, or both.
    """
    names = set(names)
    found = [layout for layout, root in _ROOTS.items() if names & {root, f"bit.{root}"}]
    if len(found) != 1:
        raise UserError(
            f"{source} is the state dict of neither a timm resnetv2_*_bit nor a transformers Bit "
            f"network: {'both' if found else 'neither'} of {' and '.join(_ROOTS.values())} are in "
            "it.",
            "Give the safetensors file of one of these.",
        )
    return found[0]


def match_state(
    shapes: Mapping[str, Shape], layout: Layout, source: str
) -> tuple[BiTSpec, dict[str, str]]:
    """The network of a state dict, all of whose tensors have to belong to it.

    Args:
        shapes: Their names and shapes.
        layout: As `layout_of` finds it.
        source: What to call the file in an error.

    Returns:
        The network, and our names -> theirs.

    Raises:
        UserError: It is no BiT, or a tensor is missing, left over or of another shape.
    """
    head_weight = f"{_HEADS[layout]}.weight"
    head = head_weight in shapes
    bare = _strip_prefix(shapes, layout)
    root = bare[_ROOTS[layout]]
    spec = BiTSpec(depth=_depth(bare, layout, source), width=_width(root, source))
    check_expressible(spec, layout)
    expected = {f"encoder/{name}": shape for name, shape in encoder_shapes(spec).items()}
    if head:
        classes = math.prod(shapes[head_weight][:1])
        expected |= {f"head/{name}": s for name, s in head_shapes(spec, classes).items()}
    # A transformers classifier without classes keeps the prefix of its encoder.
    with_prefix = f"bit.{_ROOTS['hf']}" in shapes
    names = {
        ours: f"bit.{theirs}" if with_prefix and not head and layout == "hf" else theirs
        for ours, theirs in torch_names(spec, layout, head=head).items()
    }
    check_shapes(
        {names[ours]: torch_shape(ours, shape, layout) for ours, shape in expected.items()},
        shapes,
        f"{source} (a {spec.name} by its first layer)",
    )
    return spec, names


def check_expressible(spec: BiTSpec, layout: Layout) -> None:
    """Raises UserError where timm or transformers have no such network."""
    library = "timm" if layout == "timm" else "transformers"
    reason = None
    if spec.stem != "bit":
        reason = f"stem {spec.stem!r} instead of BiT's 7x7 convolution and pooling"
    elif not spec.final_norm:
        reason = "no GroupNorm after its last block"
    elif spec.width < 1 or (spec.width * 2) % 1:
        # Both have one number of groups for all layers, and ours is 32 from 64 channels on.
        reason = f"width {spec.width:g}, at which GroupNorms cannot all have 32 groups"
    if reason:
        raise UserError(
            f"{library} cannot build this {spec.name}: it has {reason}.",
            "Export to StableHLO or ONNX instead; from PyTorch only BiT's own form comes in.",
        )


def _strip_prefix(shapes: Mapping[str, Shape], layout: Layout) -> dict[str, Shape]:
    prefix = "bit." if layout == "hf" else ""
    return {name.removeprefix(prefix): shape for name, shape in shapes.items()}


def _width(root: Shape, source: str) -> float:
    if len(root) != 4 or root[1:] != (3, 7, 7) or root[0] % 4:
        raise UserError(
            f"{source}: the first convolution has shape {tuple(root)} where (64 * width, 3, 7, 7) "
            "is expected.",
            "Only networks of three input channels with BiT's own stem come in.",
        )
    return root[0] / 64


def _depth(shapes: Mapping[str, Shape], layout: Layout, source: str) -> int:
    pattern = re.compile(re.escape(_BLOCKS[layout]).replace(r"\{\}", r"(\d+)") + r"\.conv1\.weight")
    units: dict[int, int] = {}
    for name in shapes:
        if match := pattern.fullmatch(name):
            units[int(match[1])] = units.get(int(match[1]), 0) + 1
    counts = tuple(units[stage] for stage in sorted(units))
    for depth, known in UNITS.items():
        if known == counts:
            return depth
    raise UserError(
        f"{source}: its stages have {counts or 'no'} bottleneck units, which is no known BiT.",
        f"Known are {', '.join(f'{depth}: {known}' for depth, known in UNITS.items())}.",
    )
