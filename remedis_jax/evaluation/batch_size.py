"""How many images go through the network at a time, from the machine's memory."""

import os

import jax
from jax.sharding import Mesh

from remedis_jax.models.bit import BiTSpec

# Going forward, XLA holds a handful of arrays of the widest resolution at a time: measured for
# R50x1 at 224 pixels on CPU, 6.3 times the output of the first stage.
_ARRAYS = 8
# ours: more images a batch gain nothing on a CPU; on an accelerator beyond this little.
_MOST_ON_CPU = 16
_MOST = 256
# Share of the memory that activations may take.
_SHARE_ON_CPU = 1 / 16
_SHARE = 1 / 4


def choose_batch_size(spec: BiTSpec, size: int, mesh: Mesh) -> int:
    """A power of two for every device.

    It depends on the network and on the size of the memory, not on how much of it is free, so that
    the same machine always chooses the same.

    Args:
        spec: The network.
        size: Side of its input in pixels.
        mesh: Devices that share a batch.
    """
    devices = mesh.shape["data"]
    of_image = activation_bytes(spec, size)
    if mesh.devices.flat[0].platform == "cpu":
        # Several CPU "devices" are parts of one machine.
        memory = _SHARE_ON_CPU * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / devices
        most = max(_MOST_ON_CPU // devices, 1)
    else:
        stats = mesh.devices.flat[0].memory_stats() or {}
        memory = _SHARE * stats.get("bytes_limit", 8 * 2**30)
        most = _MOST
    each = 1
    while 2 * each <= most and 2 * each * of_image <= memory:
        each *= 2
    return each * devices


def activation_bytes(spec: BiTSpec, size: int) -> int:
    """About what one image needs in activations, going forward."""
    reduction = {"bit": 4, "cifar_stride2": 2, "cifar": 1}[spec.stem]
    positions = (-(-size // reduction)) ** 2
    channels = int(64 * spec.width) * 4
    of_value = jax.numpy.dtype(spec.compute_dtype).itemsize
    return _ARRAYS * positions * channels * max(of_value, 4)
