"""From what a user calls weights to a file on this machine.

A reference is, in this order: `file:`, `https:`, `gs:` or `hf:` and an address; a path that exists;
the name of a published model; the name of something in the models folders. Each may end in
`#sha256=HEX`, the hash of the file's bytes (not the artefact's). `REMEDIS_OFFLINE=1` keeps
everything on this machine: what is here already works, all else is one line.

An address stands for what it was at its first download, even if it has changed on the server since;
name a revision (`hf://ORG/REPO@COMMIT/...`) or a hash where that matters.
"""

import os
from pathlib import Path

from remedis_jax.data.messages import did_you_mean
from remedis_jax.errors import UserError
from remedis_jax.weights.artifact import FILE_NAME
from remedis_jax.weights.registry.addresses import (
    PICKLES,
    Location,
    location_of,
    path_of,
    refuse_suffix,
    scheme_of,
    split_hash,
)
from remedis_jax.weights.registry.checksums import check_file
from remedis_jax.weights.registry.download import Progress, download
from remedis_jax.weights.registry.folders import (
    find_artifact,
    find_published,
    find_savedmodel,
    models_folders,
)
from remedis_jax.weights.registry.https import Refused, check_url, shown
from remedis_jax.weights.registry.published import MODELS, KnownModel, known_model

OFFLINE = "REMEDIS_OFFLINE"


def is_offline() -> bool:
    """Whether the environment forbids to use the network."""
    return os.environ.get(OFFLINE, "") not in ("", "0")


def locate(
    reference: str | os.PathLike, *, offline: bool = False, progress: Progress | None = None
) -> Path:
    """Finds weights, and downloads them where they are not here and may be had.

    Args:
        reference: See this module.
        offline: Do not download, as if `REMEDIS_OFFLINE` were set.
        progress: Called with the bytes that are here and those of the whole file (0: unknown).

    Returns:
        The file, or the folder of a run where that was the path. Of a published BiT network that
        has not been imported it is the .npz.

    Raises:
        UserError: There is none, it may not be had, or its bytes are not those that they should be.
        RunFailed: The download did not succeed this time.
    """
    text, sha256 = split_hash(os.fspath(reference))
    offline = offline or is_offline()
    scheme = scheme_of(text)
    if scheme == "file":
        return _local(path_of(text), sha256)
    if scheme is not None:
        return _remote(location_of(text), text, sha256, offline, progress)
    if os.path.exists(text):
        # A SavedModel that lies in the current folder may have been imported under its name.
        imported = find_artifact(text) if _is_savedmodel(Path(text)) else None
        return _local(imported or Path(text), sha256)
    model = known_model(text)
    if model is not None:
        return _published(model, sha256, offline, progress)
    path = find_artifact(text)
    if path is not None:
        return _local(path, sha256)
    raise UserError(
        f"There is no file, folder or model {text!r}.{did_you_mean(text, MODELS)}",
        "`remedis models` lists the models that are known and those that are here.",
    )


def cached(location: Location) -> Path | None:
    """The file of an address in the first models folder that has it."""
    for folder in models_folders():
        path = folder / location.folder / location.file_name
        if path.is_file():
            return path
    return None


def _is_savedmodel(path: Path) -> bool:
    return path.is_dir() and (path / "saved_model.pb").is_file()


def _local(path: Path, sha256: str | None) -> Path:
    """A path that was found, its bytes compared with what is known of them."""
    if not path.exists():
        raise UserError(f"{path} does not exist.", "Check the path.")
    if _is_savedmodel(path):
        raise UserError(
            f"{path} is a TensorFlow SavedModel.",
            f"Import it once: remedis import remedis {path}",
        )
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"{path} holds no {FILE_NAME}.", "The run has not finished; repeat its command."
        )
    if file.suffix.lower() in PICKLES:
        refuse_suffix(file.name, str(file))
    check_file(file, sha256)
    return path


def _published(
    model: KnownModel, sha256: str | None, offline: bool, progress: Progress | None
) -> Path:
    path = find_artifact(model.name)
    if path is None or (sha256 is not None and model.url is not None):
        # The hash that somebody names is that of the published file.
        path = find_published(model)
    if path is not None:
        return _local(path, sha256 or (model.sha256 if path.suffix == ".npz" else None))
    folder = find_savedmodel(model)
    if folder is not None:
        raise UserError(
            f"{model.name} is in {folder} as a TensorFlow SavedModel.",
            f"Import it once: remedis import remedis {folder}",
        )
    if model.url is None:
        steps = " ".join(f"({n}) {step}" for n, step in enumerate(model.access(), 1))
        raise UserError(
            f"{model.name} is not here, and one has to sign in to have it ({model.terms.name}).",
            steps,
        )
    target = models_folders()[0] / model.name / model.file_name
    if offline:
        raise _not_here(model.name, target, model.url)
    download(
        model.url, target, kind="npz", sha256=sha256 or model.sha256, progress=progress
    )
    return target


def _remote(
    location: Location,
    text: str,
    sha256: str | None,
    offline: bool,
    progress: Progress | None,
) -> Path:
    check_url(location.url, hash_known=sha256 is not None, token=location.token)
    path = cached(location)
    if path is not None:
        return _local(path, sha256)
    target = models_folders()[0] / location.folder / location.file_name
    if offline:
        raise _not_here(shown(text), target, location.url)
    try:
        download(
            location.url,
            target,
            kind=location.kind,
            sha256=sha256,
            token=location.token,
            progress=progress,
        )
    except Refused as error:
        raise UserError(error.problem, location.if_refused) from error
    return target


def _not_here(name: str, target: Path, url: str) -> UserError:
    why = f"{OFFLINE} is set" if is_offline() else "downloads are switched off"
    return UserError(
        f"{name} is not here, and {why}.", f"Put {shown(url)} at {target}, or allow the download."
    )
