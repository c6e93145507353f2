"""`remedis embed`: the features of a manifest's images, in a file, resumable.

Features are appended to `OUT.partial/features.f32`, batch by batch. A run that is killed anywhere
goes on behind the last batch that is safely on disk, with the batches that the first run would have
made, and ends with the same bytes. The file itself appears last, whole.
"""

import contextlib
import dataclasses
import fcntl
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from remedis_jax import versions
from remedis_jax.data.manifest import Columns, Manifest
from remedis_jax.data.messages import first_few
from remedis_jax.data.open_manifest import open_manifest
from remedis_jax.data.pipeline import eval_batches
from remedis_jax.data.sources import FileSource, SubsetSource
from remedis_jax.errors import UserError
from remedis_jax.evaluation.embedding_files import (
    RESERVED,
    Embeddings,
    check_target,
    group_files,
    read_header,
    write_by_group,
    write_embeddings,
)
from remedis_jax.evaluation.model import Model, embedder
from remedis_jax.evaluation.prepared import prepared_source
from remedis_jax.training.sharding import put_batch
from remedis_jax.training.workdir import write_json

Progress = Callable[[int, int], None]
ON_BAD_IMAGE = ("stop", "skip")
# ours: what a crash of the machine may cost.
_SYNC_SECONDS = 10.0
_COORDS = (("x", "y"), ("coord_x", "coord_y"))


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides the numbers and the form of an embedding file.

    Attributes:
        image: Column of the image path.
        where: column=value filters.
        allow_outside: Accept images outside the manifest's folder.
        tiles: How the rows of a table name tiles of slides, see `data.slide_tiles`; None where
            they name images.
        batch_size: Images at a time over all devices; None to choose by the device.
        on_bad_image: "stop" at an image that cannot be used, or "skip": its row stays, without
            features and with the reason.
        max_bad: Largest share of images that may be skipped.
        by: Column whose values each get an HDF5 file of their own; "" for one file.
        overwrite: Replace a finished file of other weights, images or settings.
    """

    image: str = "image"
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    allow_outside: bool = False
    tiles: Mapping[str, Any] | None = None
    batch_size: int | None = None
    on_bad_image: str = "stop"
    max_bad: float = 0.01
    by: str = ""
    overwrite: bool = False

    def __post_init__(self):
        if self.on_bad_image not in ON_BAD_IMAGE:
            raise UserError(
                f"--on-bad-image {self.on_bad_image!r} is unknown.",
                f"Use {' or '.join(ON_BAD_IMAGE)}.",
            )
        if self.batch_size is not None and self.batch_size < 1:
            raise UserError(f"A batch of {self.batch_size} is impossible.", "Use 1 or more.")


class _Skipping:
    """A source that puts zeros for images that cannot be used, and remembers why."""

    def __init__(self, source: FileSource):
        self._source = source
        self.problems: dict[int, str] = {}
        self.image_shape = source.image_shape
        self.dtype = source.dtype
        self.digest = source.digest

    def __len__(self) -> int:
        return len(self._source)

    def gather(self, indices: np.ndarray) -> np.ndarray:
        try:
            return self._source.gather(indices)
        except UserError:
            return np.stack([self._one(int(index)) for index in indices])

    def _one(self, index: int) -> np.ndarray:
        try:
            return self._source.prepared(index)
        except UserError as error:
            self.problems[index] = str(error)
            return np.zeros(self.image_shape, self.dtype)


def embed_manifest(
    model: Model,
    manifest: str | Path,
    out: str | Path,
    settings: Settings = Settings(),
    *,
    progress: Progress | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> Path:
    """Writes the features of every image of a manifest, or goes on with it.

    Args:
        model: Weights in use.
        manifest: What `data.open_manifest` opens; all columns are kept.
        out: The file (see `embedding_files.FORMATS`), or with `settings.by` a folder.
        settings: See `Settings`.
        progress: Called with (done, total).
        announce: Called with lines for the user.

    Returns:
        `out`.

    Raises:
        UserError: The manifest, an image or the target cannot be used.
    """
    out = Path(out)
    if not settings.by:
        check_target(out)
    rows = open_manifest(
        manifest,
        Columns(image=settings.image),
        allow_outside=settings.allow_outside,
        tiles=settings.tiles,
    )
    if settings.where:
        rows = rows.where(**settings.where)
    clash = [name for name in rows.table.columns if name in RESERVED]
    if clash:
        raise UserError(
            f"{rows.path}: a file of embeddings has a column {clash[0]!r} of its own.",
            "Rename that column of the manifest.",
        )
    files = [out]
    if settings.by:
        files = list(group_files(out, rows.column(settings.by).astype(str)).values())
    if not out.parent.is_dir():
        raise UserError(f"The folder {out.parent} does not exist.", "Make it, or correct --out.")
    coords = _coords(rows)
    source = prepared_source(rows, model.contract)
    partial = out.with_name(f"{out.name}.partial")
    header = _header(model, rows, source, settings, _recorded_batch(partial))
    if _finished(files, header, settings):
        announce(f"{out} is complete already")
        return out
    with _locked(partial):
        features, problems = _features(
            model, source, partial, header, settings, out, progress, announce
        )
        table = rows.table.reset_index()
        if settings.on_bad_image == "skip":
            table["problem"] = [problems.get(index, "") for index in range(len(table))]
        embeddings = Embeddings(features, table, header, coords)
        if settings.by:
            write_by_group(out, embeddings, rows.column(settings.by).astype(str))
        else:
            write_embeddings(out, embeddings)
        del features
        shutil.rmtree(partial)
    if problems:
        named = [f"row {rows.rows[i]}: {text}" for i, text in sorted(problems.items())]
        announce(f"{len(problems):,} of {len(rows):,} images have no features: {first_few(named)}")
    return out


def _header(
    model: Model, rows: Manifest, source: FileSource, settings: Settings, recorded: int | None
) -> dict[str, Any]:
    batch = settings.batch_size or recorded or model.batch_size
    return {
        "weights": {
            "sha256": model.sha256,
            "stage": model.card["stage"],
            "encoder": model.card["encoder"],
            "licence": model.card["licence"],
        },
        "contract": model.contract.to_json(),
        "manifest": {"name": rows.path.name, "sha256": rows.sha256},
        "where": {key: list(np.atleast_1d(value)) for key, value in settings.where.items()},
        # Names and sizes of the image files.
        "images": source.digest,
        "rows": len(rows),
        "features": model.contract.output_dim,
        "batch_size": model.whole_batch(min(batch, len(rows))),
        "precision": model.precision,
        "platform": jax.default_backend(),
        "on_bad_image": settings.on_bad_image,
        "versions": versions.versions(),
    }


def _recorded_batch(partial: Path) -> int | None:
    """The batch size of the run that is gone on with: other batches round differently."""
    header = _read_json(partial / "header.json")
    return header and header["batch_size"]


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path} cannot be read ({error}).", f"Delete {path.parent} to start anew."
        ) from error


def _differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [key for key in now if earlier.get(key) != now[key]]


def _finished(files: Sequence[Path], header: Mapping[str, Any], settings: Settings) -> bool:
    """Whether the files are what this run would write; refuses to write over anything else."""
    if settings.overwrite:
        return False
    for path in filter(Path.exists, files):
        earlier = read_header(path)
        if earlier is None:
            what = "is no file of embeddings"
        # A finished file also answers for the batch size that it was made with.
        elif changed := [k for k in _differences(earlier, header) if k != "batch_size"]:
            what = f"was made with other {', '.join(changed)}"
        else:
            continue
        raise UserError(
            f"{path} exists and {what}.",
            "Choose another --out, or give --overwrite to replace it.",
        )
    return all(path.exists() for path in files)


@contextlib.contextmanager
def _locked(partial: Path) -> Iterator[None]:
    """Keeps a second process out of a run's partial folder."""
    partial.mkdir(exist_ok=True)
    with open(partial / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"Another process is writing {partial}.", "Wait for it, or choose another --out."
            ) from None
        yield


def _features(
    model: Model,
    source: FileSource,
    partial: Path,
    header: dict[str, Any],
    settings: Settings,
    out: Path,
    progress: Progress | None,
    announce: Callable[[str], None],
) -> tuple[np.ndarray, dict[int, str]]:
    """All features (memory-mapped, NaN where there are none) and the problems by row."""
    earlier = _read_json(partial / "header.json")
    if earlier is not None and (changed := _differences(earlier, header)):
        raise UserError(
            f"{partial} belongs to a run with other {', '.join(changed)}.",
            "Restore them, delete the folder to start anew, or choose another --out.",
        )
    if earlier is None:
        write_json(partial / "header.json", header)
    total, width, size = header["rows"], header["features"], header["batch_size"]
    state = _read_json(partial / "done.json") or {"rows": 0, "problems": {}}
    done = state["rows"]
    problems = {int(index): text for index, text in state["problems"].items()}
    if done:
        announce(f"going on behind row {done:,} of {total:,}")
    skipping = _Skipping(source) if settings.on_bad_image == "skip" else None
    path = partial / "features.f32"
    with open(path, "ab") as file, open(f"{out}.jsonl", "a", encoding="utf-8") as log:
        # What was written behind the last safe row is made again.
        file.truncate(4 * width * done)
        # The first batch is made safe at once, so that a run has begun as soon as it works.
        synced = -math.inf

        def make_safe() -> None:
            file.flush()
            os.fsync(file.fileno())
            write_json(partial / "done.json", {"rows": done, "problems": problems})

        clock = time.monotonic()
        for rows in _feature_batches(model, skipping or source, size, done):
            if skipping is not None:
                # A copy: threads that prepare later batches add to it meanwhile.
                found = skipping.problems.copy()
                problems |= {i: text for i, text in found.items() if i < done + len(rows)}
                _check_share(problems, total, settings)
                rows = rows.copy()
                for index in problems:
                    if done <= index < done + len(rows):
                        rows[index - done] = np.nan
            file.write(np.ascontiguousarray(rows).data)
            done += len(rows)
            now = time.monotonic()
            line = {"rows": done, "images_per_second": round(len(rows) / (now - clock), 2)}
            log.write(json.dumps(line) + "\n")
            clock = now
            if progress is not None:
                progress(done, total)
            if now - synced > _SYNC_SECONDS:
                make_safe()
                synced = now
        make_safe()
    return np.memmap(path, np.float32, "r", shape=(total, width)), problems


def _check_share(problems: Mapping[int, str], total: int, settings: Settings) -> None:
    if len(problems) > settings.max_bad * total:
        raise UserError(
            f"{len(problems):,} of {total:,} images cannot be used, more than --max-bad "
            f"{settings.max_bad:g} allows: {first_few(list(problems.values()), '; ')}",
            "Replace the files, leave their rows out, or raise --max-bad.",
        )


def _feature_batches(
    model: Model, source: FileSource | _Skipping, size: int, start: int
) -> Iterator[np.ndarray]:
    """Features of the images from `start` on, float32 [b, F]; the filling is taken off."""
    count = len(source)
    if start >= count:
        return
    if size % model.mesh.shape["data"]:
        raise UserError(
            f"The batches of {size} of this run do not divide over "
            f"{model.mesh.shape['data']} devices.",
            "Go on with as many devices as before.",
        )
    forward = embedder(model.spec, model.contract, model.mesh, model.precision)
    rest = SubsetSource(source, np.arange(start, count))
    pending = None
    for batch in eval_batches(rest, batch_size=size):
        images = put_batch({"image": batch["image"]}, model.mesh)["image"]
        features = forward(model.params["encoder"], images)
        if pending is not None:
            # While the device works on this batch, the host takes the one before.
            yield np.asarray(pending)
        pending = features
    yield np.asarray(pending)[: count - start - (count - start - 1) // size * size]


def _coords(rows: Manifest) -> np.ndarray | None:
    """Places in a slide, int64 [N, 2], where the manifest has columns for them.

    Raises:
        UserError: A cell is not a whole number.
    """
    for names in _COORDS:
        if all(name in rows.table.columns for name in names):
            places = np.stack([rows.numbers(name) for name in names], axis=1)
            if not np.isfinite(places).all() or (places % 1).any():
                raise UserError(
                    f"{rows.path}: columns {' and '.join(names)} are not whole numbers everywhere.",
                    "Correct the cells, or rename the columns if they are no places in a slide.",
                )
            return places.astype(np.int64)
    return None
