"""Versions that stand in every artefact and report."""

import platform
from importlib import metadata

PACKAGES = ("remedis_jax", "jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def versions() -> dict[str, str]:
    """Name -> version of Python and of the packages that decide numbers."""
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in PACKAGES
    }
