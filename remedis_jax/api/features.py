"""Weights in use as functions: load them, embed with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Progress = Callable[[int, int], None]


def embed(
    manifest: str | Path,
    weights: str | Path,
    out: str | Path,
    *,
    devices: int | None = None,
    precision: str = "highest",
    progress: Progress | None = None,
    announce: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> Path:
    """Writes the features of every image of a manifest to a file, or goes on with it.

    Args:
        manifest: CSV or Parquet with one image a row.
        weights: As for `load`.
        out: Ends in .parquet, .npz or .h5; a folder with `by`.
        devices: How many of the devices to use; None for all.
        precision: As for `load`.
        progress: Called with (done, total).
        announce: Called with lines for the user.
        **settings: Fields of `remedis_jax.evaluation.embedding_run.Settings`: image, where,
            batch_size, on_bad_image, max_bad, by, overwrite, allow_outside.

    Returns:
        `out`.

    Raises:
        UserError: The manifest, an image, the weights or the target cannot be used.
    """
    from remedis_jax.evaluation.embedding_run import Settings, embed_manifest
    from remedis_jax.evaluation.model import load

    chosen = Settings(**settings)
    model = load(weights, devices=devices, precision=precision)
    return embed_manifest(model, manifest, out, chosen, progress=progress, announce=announce)


def load(weights: str | Path, **options: Any):
    """Weights, ready to use; see `remedis_jax.evaluation.model.load`."""
    from remedis_jax.evaluation import model

    return model.load(weights, **options)
