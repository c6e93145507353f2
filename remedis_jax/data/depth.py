"""How many bits the images of a manifest have, from their headers."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from remedis_jax.data.decode import depth_of, needs_header
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.picture import is_tiff

# Enough for the header of a PNG file, and of most DICOM files.
_HEAD = 16384


def deepest(manifest: Manifest) -> int:
    """16 where an image of the manifest has more than 8 bits a channel, else 8.

    Stores of one depth know it (`bits`). JPEGs and BMPs are told by their names, of other files the
    beginning is read. A file that says
    nothing sensible counts as 8; it is refused where it is decoded.

    Raises:
        UserError: A file cannot be read.
    """
    store = manifest.store
    if known := getattr(store, "bits", 0):
        return known
    unclear = [name for name in manifest.images if needs_header(name)]

    def bits(name: str) -> int:
        head = store.head(name, _HEAD)
        if isinstance(head, np.ndarray):
            return 8 * head.dtype.itemsize
        return depth_of(store.head(name, -1) if is_tiff(head) else head)

    # Waiting for disks, not computing: more threads than processors.
    with ThreadPoolExecutor(4 * (os.cpu_count() or 1)) as pool:
        return 16 if any(found > 8 for found in pool.map(bits, unclear)) else 8
