"""Does our network compute what a SavedModel computes, and under which reading of it?

Two things about a published model are not written down: whether it brings its input from [0, 1] to
[-1, 1] itself, and whether its output has passed the last GroupNorm and ReLU. Each of the four
readings is run beside the SavedModel's own outputs, and one of them has to agree to float32
rounding while the others clearly do not.

A weight-standardised kernel sums to zero and GroupNorm undoes any factor, so a wrong value range
changes little inside an image: it shows where the zero padding meets the border. Therefore the
probe's borders are neither black, mid-grey nor constant, and the measure is the largest absolute
difference and no mean or cosine, which would hide the border in the interior.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from remedis_jax.errors import UserError
from remedis_jax.models.bit import BiT, BiTSpec, GroupNorm
from remedis_jax.weights.artifact import unflatten

SCALINGS = {"inside": (-1.0, 1.0), "outside": (0.0, 1.0)}
PROBE = "3 images in [0, 1] (noise, smooth with faint noise, blocks), numpy seed 205_092_023"
# ours. Both sides compute in float32 and differ by the order of their sums, which random weights
# amplify with depth: measured at most 2e-5 of the largest output for R50x1 and 9e-5 for R152x2,
# where a wrong reading differs by 0.2 to 27.
_TOLERANCES = ((101, 1e-4), (152, 5e-4))
# ours: the next reading must be this many times farther, and no nearer than rounding can be.
MARGIN = 10
_ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the parity table: one reading at one size.

    Attributes:
        match: Which proposal of variables, by number.
        scaling: "inside" or "outside" of the SavedModel's graph.
        final_norm: Whether the last GroupNorm and ReLU are part of the output.
        size: Height and width in pixels.
        largest: Largest absolute difference.
        relative: The same divided by the largest absolute output of the SavedModel.
    """

    match: int
    scaling: str
    final_norm: bool
    size: tuple[int, int]
    largest: float
    relative: float

    @property
    def reading(self) -> tuple[int, str, bool]:
        return self.match, self.scaling, self.final_norm

    def to_json(self) -> dict[str, Any]:
        """JSON values; a difference that is not finite is null."""
        values = dataclasses.asdict(self) | {"size": list(self.size)}
        for name in ("largest", "relative"):
            values[name] = values[name] if np.isfinite(values[name]) else None
        return values


def tolerance(spec: BiTSpec) -> float:
    """Largest difference, relative to the largest output, at which both compute the same."""
    return next(allowed for depth, allowed in _TOLERANCES if spec.depth <= depth)


def probe_images(side: int = 512) -> np.ndarray:
    """[3, side, side, 3] float32 in [0, 1]; whatever part is cut out has hard borders."""
    generator = np.random.default_rng(205_092_023)
    noise = generator.random((side, side, 3))
    positions = np.linspace(0, 2 * np.pi, side)
    waves = np.sin(3 * positions)[:, None, None] * np.cos(5 * positions + 1)[None, :, None]
    smooth = 0.5 + 0.35 * waves * np.array([1, 0.8, 0.6])
    smooth = smooth + 0.1 * (generator.random((side, side, 3)) - 0.5)
    blocks = generator.random((-(-side // 8), -(-side // 8), 3))
    blocks = blocks.repeat(8, axis=0).repeat(8, axis=1)[:side, :side]
    return np.stack([noise, smooth, blocks]).astype(np.float32)


@functools.partial(jax.jit, static_argnames="spec")
def _both_ends(
    params: Mapping[str, Any], images: jax.Array, spec: BiTSpec
) -> tuple[jax.Array, jax.Array | None]:
    """The feature map before and, where there are parameters for it, after the last GroupNorm."""
    params = dict(params)
    last = params.pop("group_norm", None)
    bare = dataclasses.replace(spec, final_norm=False)
    raw = BiT(bare).apply({"params": params}, images, pool=False)
    if last is None:
        return raw, None
    return raw, jax.nn.relu(GroupNorm().apply({"params": last}, raw))


def compare(
    match: int,
    spec: BiTSpec,
    flat: Mapping[str, np.ndarray],
    runs: Iterable[tuple[np.ndarray, np.ndarray]],
    source: str,
) -> tuple[list[Row], bool]:
    """Runs our network beside recorded outputs, in every reading.

    Args:
        match: Number of the proposal, for the rows.
        spec: Our network.
        flat: Its parameters by our names.
        runs: (images [B, H, W, 3] in [0, 1], what the SavedModel returned) of each size.
        source: What to call the SavedModel in an error.

    Returns:
        (rows, whether the output is pooled).

    Raises:
        UserError: The output is of another form, or says nothing.
    """
    rows: list[Row] = []
    pooled = False
    with jax.default_device(_processor()), jax.default_matmul_precision("highest"):
        params = jax.tree.map(jnp.asarray, unflatten(flat))
        for images, theirs in runs:
            peak = float(np.abs(theirs).max(initial=0))
            if not np.isfinite(theirs).all() or peak == 0:
                raise UserError(
                    f"{source} returns {'zeros' if peak == 0 else 'numbers that are not finite'} "
                    "on the probe images.",
                    "Its weights are damaged, or it is no encoder.",
                )
            for scaling, (low, high) in SCALINGS.items():
                ends = _both_ends(params, images * np.float32(high - low) + np.float32(low), spec)
                pooled = _is_pooled(theirs, ends[0].shape, source)
                for final_norm, ours in zip((False, True), ends, strict=True):
                    if ours is None:
                        continue
                    ours = np.asarray(ours.mean(axis=(1, 2)) if pooled else ours)
                    largest = float(np.abs(ours - theirs.reshape(ours.shape)).max())
                    size = images.shape[1:3]
                    rows.append(Row(match, scaling, final_norm, size, largest, largest / peak))
    return rows, pooled


def _processor() -> jax.Device | None:
    """The CPU, whose float32 is plain float32; the default device where JAX has no CPU."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def _is_pooled(theirs: np.ndarray, ours: tuple[int, ...], source: str) -> bool:
    batch, _, _, features = ours
    if theirs.shape == ours:
        return False
    if theirs.shape in ((batch, features), (batch, 1, 1, features)):
        return True
    raise UserError(
        f"{source} returns {theirs.shape} where this network gives {ours} or, pooled, "
        f"{(batch, features)}.",
        "Name the output that holds the features (output=...), if there is one.",
    )


def decide(
    rows: list[Row],
    source: str,
    allowed: float,
    *,
    scaling: str | None = None,
    final_norm: bool | None = None,
) -> tuple[int, str, bool]:
    """The one reading under which both networks compute the same.

    Args:
        rows: As from `compare`, of all proposals and sizes.
        source: What to call the SavedModel in an error.
        allowed: Largest difference relative to the largest output, at the worst size.
        scaling: "inside" or "outside" where it is prescribed.
        final_norm: Where it is prescribed.

    Returns:
        (number of the proposal, scaling, final_norm).

    Raises:
        UserError: No reading agrees, several do, or the prescribed one does not.
    """
    worst: dict[tuple[int, str, bool], float] = {}
    for row in rows:
        # A difference that is not a number is no agreement, and Python's max would drop it.
        error = row.relative if np.isfinite(row.relative) else np.inf
        worst[row.reading] = max(worst.get(row.reading, 0.0), error)
    ranked = sorted(worst.items(), key=lambda item: item[1])
    asked = [
        (reading, error)
        for reading, error in ranked
        if scaling in (None, reading[1]) and final_norm in (None, reading[2])
    ]
    table = "; ".join(f"{_words(reading)}: {error:.1e}" for reading, error in ranked[:4])
    if not asked:
        raise UserError(
            f"{source} has no parameters of a last GroupNorm, so final_norm=True is impossible.",
            "Leave final_norm at auto.",
        )
    reading, error = asked[0]
    if not error <= allowed:
        prescribed = scaling is not None or final_norm is not None
        raise UserError(
            f"{source} does not compute what this network computes"
            f"{' in the prescribed reading' if prescribed else ''}: the largest difference is "
            f"{error:.1e} of the largest output where {allowed:.0e} is allowed ({table}).",
            "Leave scaling and final_norm at auto."
            if prescribed and ranked[0][1] <= allowed
            else "It is another network, or its input is prepared in another way; do not use it.",
        )
    rivals = [other for other in ranked if other[0] != reading]
    if rivals and rivals[0][1] <= MARGIN * max(error, _ROUNDING):
        raise UserError(
            f"{source}: cannot decide between two readings, {_words(reading)} and "
            f"{_words(rivals[0][0])}, which compute nearly the same ({table}).",
            "Compare at another size=... if it takes any; otherwise it cannot be imported.",
        )
    return reading


def _words(reading: tuple[int, str, bool]) -> str:
    match, scaling, final_norm = reading
    prefix = f"variables as in proposal {match + 1}, " if match else ""
    return f"{prefix}scaling {scaling}, {'with' if final_norm else 'without'} final norm"


def table_lines(
    rows: list[Row], chosen: tuple[int, str, bool] | None, allowed: float
) -> list[str]:
    """The parity table for people, one line a row; `chosen` is None where none agrees."""
    several = len({row.match for row in rows}) > 1
    lines = [
        f"{'variables  ' if several else ''}{'scaling':8}  {'final norm':10}  {'size':9}  "
        f"{'largest |difference|':20}  relative"
    ]
    for row in rows:
        proposal = f"{row.match + 1:<9}  " if several else ""
        mark = "  <- agrees" if row.reading == chosen else ""
        lines.append(
            f"{proposal}{row.scaling:8}  {'yes' if row.final_norm else 'no':10}  "
            f"{f'{row.size[0]}x{row.size[1]}':9}  {row.largest:<20.2e}  {row.relative:.2e}{mark}"
        )
    lines.append(
        f"allowed: {allowed:.0e} of the largest output, and {MARGIN} times less than any other"
    )
    return lines
