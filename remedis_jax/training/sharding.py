"""The one place where meshes, shardings and `jax.jit` are applied.

Computation is global-view: functions are written for the whole batch, the batch is sharded over
the mesh's "data" axis, the state is replicated, and the compiler inserts the collectives.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from remedis_jax.errors import UserError


def make_mesh(devices: int | None = None) -> Mesh:
    """A mesh with one axis "data" over all devices, or over the first few.

    Args:
        devices: How many of the devices of all processes; None for all.

    Raises:
        UserError: There are fewer devices, or some processes would have none.
    """
    # By process, so that the p-th part of the mesh holds the p-th part of every batch: which
    # example stands where, and so its random keys, must not depend on the machines' wiring.
    available = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    count = len(available) if devices is None else devices
    if not 1 <= count <= len(available):
        raise UserError(
            f"The config asks for {count} devices and there are {len(available)}.",
            "Lower config.devices, or leave it out to use all.",
        )
    if count < len(available) and jax.process_count() > 1:
        raise UserError(
            f"The config asks for {count} of {len(available)} devices of several processes.",
            "Leave config.devices out, or start fewer processes.",
        )
    # The axis type is written out since jax made Explicit the default, under which a similarity
    # matrix of two sharded batches is refused.
    return Mesh(np.array(available[:count]), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec("data"))


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """Host arrays -> arrays replicated over the mesh; those that are so already stay."""
    sharding = replicated(mesh)

    def put(x):
        if isinstance(x, jax.Array) and x.sharding == sharding:
            return x
        return jax.make_array_from_callback(np.shape(x), sharding, lambda i: np.asarray(x)[i])

    return jax.tree.map(put, tree)


def put_replicated_key(key: jax.Array, mesh: Mesh) -> jax.Array:
    """A typed random key, replicated over the mesh."""
    data = put_replicated(np.asarray(jax.random.key_data(key)), mesh)
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(key))


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's share of a batch -> global arrays sharded over "data"."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, values)
        for name, values in batch.items()
    }


def check_batch_size(batch_size: int, mesh: Mesh, name: str = "batch_size") -> None:
    """Raises UserError unless a batch divides evenly over the devices."""
    devices = mesh.shape["data"]
    if batch_size % devices:
        raise UserError(
            f"{name} {batch_size} does not divide over {devices} devices.",
            f"Use a multiple of {devices}.",
        )


def jit_train_step(train_step: Callable, mesh: Mesh) -> Callable:
    """Compiles (state, batch, root key, peak rate) -> (state, metrics).

    The old state's memory is reused.
    """
    whole, split = replicated(mesh), batch_sharding(mesh)
    return jax.jit(
        train_step,
        in_shardings=(whole, split, whole, whole),
        out_shardings=(whole, whole),
        donate_argnums=0,
    )


def jit_forward(forward: Callable, mesh: Mesh) -> Callable:
    """Compiles (params, sharded images) -> outputs, which every process gets whole."""
    whole, split = replicated(mesh), batch_sharding(mesh)
    return jax.jit(forward, in_shardings=(whole, split), out_shardings=whole)
