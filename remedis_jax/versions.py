"""Versions that stand in every artefact and report."""

import platform
from importlib import metadata

from remedis_jax import __version__

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def versions() -> dict[str, str]:
    """Name -> version of Python and of the packages that decide numbers."""
    own = {"python": platform.python_version(), "remedis_jax": __version__}
    return own | {name: metadata.version(name) for name in PACKAGES}
