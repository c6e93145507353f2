"""What is done with data before training, as functions: check, split, decode once."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from remedis_jax.errors import UserError

Progress = Callable[[int, int], None]


def check_data(manifest: str | Path, out: str | Path | None = None, **options: Any):
    """Checks a manifest and its images; see `remedis_jax.report.manifest_check.check_data`."""
    from remedis_jax.report import manifest_check

    return manifest_check.check_data(manifest, out, **options)


def split(
    manifest: str | Path,
    by: str,
    out: str | Path | None = None,
    *,
    fractions: Mapping[str, float] | None = None,
    stratify: Sequence[str] = (),
    site: str = "",
    test_sites: Sequence[str] = (),
    ood_fractions: Mapping[str, float] | None = None,
    seeds: Sequence[int] = (0,),
    image: str = "image",
    near_duplicates: int | None = None,
    keep_duplicates_together: bool = True,
    allow_absent: bool = False,
    allow_outside: bool = False,
    progress: Progress | None = None,
    **settings: Any,
):
    """Splits a manifest by patient and writes it with a column that says who is where.

    Args:
        manifest: CSV or Parquet, or a folder of images.
        by: Column of the patient, case or lesion that must stay whole.
        out: CSV to write; `NAME.split.csv` beside the manifest if None.
        fractions: Parts with their shares of the patients; 0.7 train, 0.1 val, 0.2 test if None.
        stratify: Label columns that every part is to have alike.
        site: Column of the site.
        test_sites: Sites that are held out from all other parts.
        ood_fractions: Parts of the held-out sites, called `ood_NAME`; all of them test if None.
        seeds: A split is drawn for each.
        image: Column of the image.
        near_duplicates: Patients with pictures whose fingerprints differ in so many bits or fewer
            go to one part; None for the default, -1 for equal files only.
        keep_duplicates_together: Whether patients who share an image go to one part.
        allow_absent: Go on although a part lacks a label that others have.
        allow_outside: Accept images outside the manifest's folder.
        progress: Called with (done, total) while images are compared.
        **settings: `column` and `overwrite`, see `remedis_jax.data.split_files.Settings`.

    Returns:
        As `remedis_jax.data.split_files.split_manifest`.

    Raises:
        UserError: The manifest cannot be used or the shares do not work out.
    """
    from remedis_jax.data.drawn_split import Rules
    from remedis_jax.data.fingerprints import NEAR_DUPLICATE_BITS
    from remedis_jax.data.manifest import Columns
    from remedis_jax.data.open_manifest import open_manifest
    from remedis_jax.data.split_files import Settings, split_manifest

    rules = Rules(
        fractions={"train": 0.7, "val": 0.1, "test": 0.2} if fractions is None else fractions,
        stratify=tuple(stratify),
        site=site,
        test_sites=tuple(test_sites),
        ood_fractions={"test": 1.0} if ood_fractions is None else ood_fractions,
        allow_absent=allow_absent,
    )
    roles = Columns(image=image, group=by, labels=tuple(stratify), site=site or None)
    if near_duplicates is None:
        near_duplicates = NEAR_DUPLICATE_BITS if keep_duplicates_together else -1
    chosen = Settings(
        near_duplicates=near_duplicates,
        keep_duplicates_together=keep_duplicates_together,
        **settings,
    )
    rows = open_manifest(manifest, roles, allow_outside=allow_outside)
    return split_manifest(
        rows, rules, chosen, seeds, None if out is None else Path(out), progress=progress
    )


def cache(
    manifest: str | Path,
    out: str | Path,
    *,
    size: int = 256,
    image: str = "image",
    tiles: Mapping[str, Any] | None = None,
    channels: int = 3,
    to_grey: bool = False,
    fit: str = "squash",
    bits: int = 0,
    window: str = "file",
    frames: str = "error",
    reduced: bool = True,
    shard_mib: int = 256,
    threads: int = 0,
    allow_outside: bool = False,
    progress: Progress | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> Path:
    """Decodes every image once and writes it at the working size, with the whole manifest.

    Args:
        manifest: What training would read.
        out: Folder; repeating the call goes on with it.
        size: Side of the images in pixels.
        image: Column of the image.
        tiles: How rows name tiles of slides, see `data.slide_tiles`.
        channels: As the config's `data` fields of these names, up to `reduced`.
        to_grey: See `channels`.
        fit: See `channels`.
        bits: See `channels`.
        window: See `channels`.
        frames: See `channels`.
        reduced: See `channels`.
        shard_mib: Decoded pixels in each file.
        threads: Images decoded at a time; 0 for the machine's processors.
        allow_outside: Accept images outside the manifest's folder.
        progress: Called with (done, total).
        announce: Called with lines for the user.

    Returns:
        `out`, to be named as `data.manifest`.

    Raises:
        UserError: The manifest or an image cannot be used, or the folder holds another cache.
    """
    from remedis_jax.data.cache import write_cache
    from remedis_jax.data.dataset import reading_of
    from remedis_jax.data.depth import deepest
    from remedis_jax.data.manifest import Columns
    from remedis_jax.data.open_manifest import open_manifest

    if shard_mib < 1 or threads < 0:
        raise UserError(
            f"--shard-mib {shard_mib} --threads {threads} is not possible.",
            "--shard-mib is 1 or more, --threads 0 or more.",
        )
    rows = open_manifest(
        manifest, Columns(image=image), allow_outside=allow_outside, tiles=tiles
    )
    settings = {
        "channels": channels, "to_grey": to_grey, "window": window, "frames": frames,
        "reduced": reduced, "bits": bits or deepest(rows),
    }  # fmt: skip
    reading = reading_of(ConfigDict(settings), rows)
    most = len(rows) * size * size * channels * reading.bits / 8 / 2**30
    announce(
        f"{len(rows):,} images of {size} x {size} x {channels}, {reading.bits} bits: at most"
        f" {most:,.1f} GiB"
    )
    return write_cache(
        rows,
        Path(out),
        size=size,
        reading=reading,
        fit=fit,
        shard_bytes=shard_mib * 2**20,
        threads=threads or None,
        progress=progress,
    )
