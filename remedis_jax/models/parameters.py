"""Declaring parameters and creating them on the host, without compiling the network.

`jax.jit(model.init)` compiles one random-number program per parameter: about ten seconds for a
ResNet-50. Here the network is only traced for shapes; the values are drawn by numpy, one Philox
stream per parameter keyed by (seed, parameter path). The result therefore depends neither on the
number of devices nor on the order in which parameters are declared.
"""

import contextvars
import dataclasses
import zlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

_recorder: contextvars.ContextVar[dict[tuple[str, ...], "Initializer"] | None] = (
    contextvars.ContextVar("remedis_jax_initializers", default=None)
)


@dataclasses.dataclass(frozen=True)
class Initializer:
    """A constant, or a normal distribution with a fixed or a fan-in standard deviation.

    Attributes:
        constant: The value, where the parameter starts as a constant.
        std: Standard deviation of the normal distribution.
        fan_in_scale: Instead of `std`: the variance is `fan_in_scale / fan_in`, where fan-in is
            the product of all dimensions but the last (LeCun: 1, He: 2).
    """

    constant: float | None = None
    std: float | None = None
    fan_in_scale: float | None = None

    def deviation(self, shape: tuple[int, ...]) -> float:
        """Standard deviation for a parameter of this shape."""
        if self.fan_in_scale is not None:
            return float(np.sqrt(self.fan_in_scale / np.prod(shape[:-1])))
        assert self.std is not None
        return self.std

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32):
        """The same distribution by a JAX key, so that plain `model.init` works too."""
        if self.constant is not None:
            return jnp.full(shape, self.constant, dtype)
        return jax.random.normal(key, shape, dtype) * self.deviation(shape)

    def on_host(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """float32 array of `shape` drawn by numpy."""
        if self.constant is not None:
            return np.full(shape, self.constant, np.float32)
        values = generator.standard_normal(shape, dtype=np.float32)
        return values * np.float32(self.deviation(shape))


ZEROS = Initializer(constant=0.0)
ONES = Initializer(constant=1.0)
LECUN_NORMAL = Initializer(fan_in_scale=1.0)
# The variance of PyTorch's default for linear layers, U(-1, 1) / sqrt(fan_in).
TORCH_LINEAR = Initializer(fan_in_scale=1 / 3)


def declare(
    module: nn.Module,
    name: str,
    initializer: Initializer,
    shape: tuple[int, ...],
    collection: str = "params",
):
    """Declares a float32 parameter, or a float32 variable of another collection.

    Use it instead of `module.param`: it lets `initialise` know the initialiser of every leaf.

    Returns:
        The parameter's value; for another collection than `params`, the variable itself, since
        its value is updated.
    """
    recorder = _recorder.get()
    if recorder is not None:
        recorder[(collection, *module.path, name)] = initializer
    if collection == "params":
        return module.param(name, initializer, shape, jnp.float32)
    return module.variable(
        collection, name, lambda: initializer(jax.random.key(0), shape, jnp.float32)
    )


def initialise(
    module: nn.Module,
    seed: int,
    *example: Any,
    scope: str = "",
    only: str | None = None,
    **kwargs: Any,
) -> dict[str, Any]:
    """Creates all variables of a module as numpy arrays.

    Args:
        module: A module that declares every variable through `declare`.
        seed: Non-negative integer; the same seed gives the same bits on every machine.
        *example: Arrays or `jax.ShapeDtypeStruct`s to call the module on.
        scope: Put before parameter paths when their values are drawn, so that two modules of one
            shape (a projection head and a predictor) do not start as copies of each other.
        only: Create this collection alone.
        **kwargs: Static keyword arguments of the call.

    Returns:
        A dict of collections (`params`, and `batch_stats` where there are any), float32 leaves.
    """
    recorded: dict[tuple[str, ...], Initializer] = {}
    token = _recorder.set(recorded)
    try:
        shapes = jax.eval_shape(
            lambda *args: module.init(jax.random.key(0), *args, **kwargs), *example
        )
    finally:
        _recorder.reset(token)

    def create(path, leaf):
        names = tuple(entry.key for entry in path)
        path_text = "/".join((scope, *names) if scope else names)
        if names not in recorded:
            raise ValueError(f"{'/'.join(names)} was not declared through `declare`")
        # zlib.crc32 and not hash(): Python salts its hash anew in every process.
        entropy = np.random.SeedSequence([seed, zlib.crc32(path_text.encode())])
        generator = np.random.Generator(np.random.Philox(entropy))
        return recorded[names].on_host(generator, leaf.shape)

    if only is not None:
        shapes = {name: tree for name, tree in shapes.items() if name == only}
    return jax.tree_util.tree_map_with_path(create, shapes)
