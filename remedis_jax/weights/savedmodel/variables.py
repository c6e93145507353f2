"""Which variable of a foreign file is which parameter of a BiT network.

By name where names end like BiT's own, whatever stands before; else by the path of objects that
leads to each variable; else by order and shape. None of the three is trusted: a match is a proposal
that the comparison of outputs then proves or rejects.
"""

import collections
import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence

from remedis_jax.errors import UserError
from remedis_jax.models.bit import UNITS, BiTSpec
from remedis_jax.weights.architecture import Shape, encoder_shapes, infer_spec

FINAL_NORM = ("group_norm/gamma", "group_norm/beta")
_N = r"(?:_\d+)?"
_CONV = rf"standardized_conv2d{_N}/kernel{_N}"
_NORM = rf"group_norm{_N}/(?:gamma|beta){_N}"
_BLOCK = re.compile(
    rf"(?:^|(?<=/))block\d+{_N}/unit\d+{_N}/[abc]{_N}/(?:(?:proj{_N}/)?{_CONV}|{_NORM})$"
)
_ENDS = (rf"(?:^|(?<=/))root_block{_N}/{_CONV}$", rf"(?:^|(?<=/)){_NORM}$")
_SUFFIXES = (_BLOCK, *map(re.compile, _ENDS))


@dataclasses.dataclass(frozen=True)
class Variable:
    """A variable of a foreign file.

    Attributes:
        name: Its own; need not be unique.
        path: Names of the attributes that lead to it from the model's root, joined by "/".
        shape: With (1, 1, 1, C) squeezed to (C,).
        dtype: E.g. "float32".
    """

    name: str
    path: str
    shape: Shape
    dtype: str = "float32"

    @classmethod
    def of_shape(cls, name: str, path: str, shape: Sequence[int], dtype: str) -> "Variable":
        """Squeezes (1, 1, 1, C), in which some files store GroupNorm's parameters."""
        shape = tuple(shape)
        if len(shape) == 4 and shape[:3] == (1, 1, 1):
            shape = shape[3:]
        return cls(name, path, shape, dtype)

    def __str__(self) -> str:
        return f"{self.name} {self.shape}" + ("" if self.dtype == "float32" else f" {self.dtype}")


@dataclasses.dataclass(frozen=True)
class Match:
    """A proposal: which variable each parameter of the network is.

    Attributes:
        matched_by: "name", "path" or "order".
        detail: The prefix of the names, or the order that was assumed.
        indices: Our name -> index of the variable.
        spec: The network; its `final_norm` says whether the file has those parameters.
    """

    matched_by: str
    detail: str
    indices: Mapping[str, int]
    spec: BiTSpec


def propose(variables: Sequence[Variable], source: str) -> list[Match]:
    """All ways to read the variables as a BiT network, the most trustworthy kind only.

    Args:
        variables: In the order of the file.
        source: What to call it in an error.

    Returns:
        At least one match. Several where the file holds several networks, or where names say
        nothing and the order is open.

    Raises:
        UserError: They are no BiT network.
    """
    usable = [index for index, v in enumerate(variables) if v.dtype == "float32"]
    for kind in ("name", "path"):
        names = {index: getattr(variables[index], kind) for index in usable}
        matches = _by_suffix(names, variables, kind, source)
        if matches:
            return matches
    return _by_order([(index, variables[index].shape) for index in usable], source)


def canonical(name: str) -> tuple[str, str] | None:
    """Splits a name into what stands before and our name; None if it ends like none of BiT's.

    ":0" and counters such as `_1` or `standardized_conv2d_12` are taken off our part.
    """
    name = re.sub(r":\d+$", "", name)
    for suffix in _SUFFIXES:
        if match := suffix.search(name):
            ours = re.sub(r"_\d+(?=/|$)", "", match[0])
            ours = re.sub(r"(?<=/unit)\d+", lambda number: f"{int(number[0]):02d}", ours)
            return name[: match.start()], ours
    return None


def _by_suffix(
    names: Mapping[int, str], variables: Sequence[Variable], kind: str, source: str
) -> list[Match]:
    groups: dict[str, dict[str, int]] = {}
    exact: set[int] = set()
    for index, name in names.items():
        if (found := canonical(name)) is None:
            continue
        prefix, ours = found
        is_exact = re.sub(r":\d+$", "", name) == prefix + ours
        group = groups.setdefault(prefix, {})
        # Of kernel and kernel_1 the former; the other one is left over and listed.
        if ours not in group or (is_exact and group[ours] not in exact):
            group[ours] = index
        if is_exact:
            exact.add(index)
    # GroupNorm alone is in many networks.
    if not any(set(group) - set(FINAL_NORM) for group in groups.values()):
        return []

    def shapes(group: Mapping[str, int]) -> dict[str, Shape]:
        return {ours: variables[index].shape for ours, index in group.items()}

    matches, problems = [], {}
    for prefix, group in groups.items():
        try:
            spec = infer_spec(shapes(group), source)
        except UserError as error:
            problems[prefix] = error
        else:
            matches.append(Match(kind, prefix, group, spec))
    if matches:
        return matches
    # Some exporters give every part its own prefix.
    merged: dict[str, int] = {}
    for ours, index in itertools.chain.from_iterable(g.items() for g in groups.values()):
        if ours in merged:
            raise problems[max(groups, key=lambda prefix: len(groups[prefix]))]
        merged[ours] = index
    return [Match(kind, "", merged, infer_spec(shapes(merged), source))]


def _by_order(shapes: Sequence[tuple[int, Shape]], source: str) -> list[Match]:
    spec = _spec_of_shapes([shape for _, shape in shapes], source)
    expected = encoder_shapes(spec)
    matches: list[Match] = []
    for gamma_first, projection_first in itertools.product((True, False), repeat=2):
        waiting: dict[Shape, collections.deque[int]] = {}
        for index, shape in shapes:
            waiting.setdefault(shape, collections.deque()).append(index)
        indices = {
            name: waiting[expected[name]].popleft()
            for name in _reordered(list(expected), gamma_first, projection_first)
        }
        if any(match.indices == indices for match in matches):
            continue
        detail = (
            f"{'gamma' if gamma_first else 'beta'} first, projection "
            f"{'before' if projection_first else 'after'} its unit"
        )
        matches.append(Match("order", detail, indices, spec))
    return matches


def _spec_of_shapes(shapes: Sequence[Shape], source: str) -> BiTSpec:
    """The one network whose every tensor is there and whose convolutions are all that are there."""
    no_bit = UserError(
        f"{source} holds no BiT network: no variable is named like one, and the shapes of its "
        f"{len(shapes)} float32 variables are not those of one.",
        "Give weights of a BiT ResNet-v2.",
    )
    roots = [shape for shape in shapes if len(shape) == 4 and shape[:3] == (7, 7, 3)]
    if len(roots) != 1 or roots[0][3] < 4 or roots[0][3] % 4:
        raise no_bit
    counts = collections.Counter(shapes)
    fitting = []
    for depth, final_norm in itertools.product(UNITS, (True, False)):
        spec = BiTSpec(depth=depth, width=roots[0][3] / 64, final_norm=final_norm)
        needed = collections.Counter(encoder_shapes(spec).values())
        if needed <= counts and not any(
            len(shape) == 4 and shape[:2] == (3, 3) for shape in counts - needed
        ):
            fitting.append(spec)
    if not fitting:
        raise no_bit
    return fitting[0]


def _reordered(names: list[str], gamma_first: bool, projection_first: bool) -> list[str]:
    if not gamma_first:
        for index in [i for i, name in enumerate(names) if name.endswith("/gamma")]:
            names[index : index + 2] = names[index + 1], names[index]
    if not projection_first:
        for projection in [name for name in names if "/a/proj/" in name]:
            last = projection.replace("/a/proj/", "/c/")
            names.remove(projection)
            names.insert(names.index(last) + 1, projection)
    return names
