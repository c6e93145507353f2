"""Arrays that one thread of the host's augmentation uses again for every view."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike


class Workspace:
    """Named buffers that grow to the largest shape asked for.

    A plane of a view is large enough for the allocator to ask the kernel for it, and getting its
    pages costs more than the arithmetic on it (measured: a split into planes takes 14 times as
    long). For one thread.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, np.dtype], np.ndarray] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
        """An array of `shape` and `dtype` with any content, valid until `name` is asked again."""
        key = (name, np.dtype(dtype))
        count = int(np.prod(shape))
        if key not in self._buffers or self._buffers[key].size < count:
            self._buffers[key] = np.empty(count, dtype)
        return self._buffers[key][:count].reshape(shape)
