"""One file over https: gone on with where it stopped, and whole and checked or not there at all.

What arrives is written to `NAME.part` (see `partial_file`); a file that has changed on the server
meanwhile is begun anew. When all of it is there its SHA-256 is taken and recorded beside it (see
`checksums`), and only then does the file get its name.
"""

import http.client
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from remedis_jax.data.dataset import file_sha256
from remedis_jax.errors import RunFailed, UserError
from remedis_jax.weights.file_kinds import refuse_other_kinds
from remedis_jax.weights.registry.checksums import check_file, write_record
from remedis_jax.weights.registry.https import Interrupted, check_url, open_url, reason_of, shown
from remedis_jax.weights.registry.partial_file import PartialFile, alone

# Called with the bytes that are here and those of the whole file, 0 while that is unknown.
Progress = Callable[[int, int], None]

# Seconds before each new attempt in a row in which nothing new arrived (ours).
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
_CHUNK = 2**18


def download(
    url: str,
    target: Path,
    *,
    kind: str | None = None,
    sha256: str | None = None,
    token: str | None = None,
    progress: Progress | None = None,
) -> str:
    """Brings a file here; one that is here already is checked and left alone.

    Args:
        url: https; http only with `sha256`. See `https.check_url`.
        target: Where it is to lie. Its folder is made.
        kind: What its first bytes have to say that it is, see `file_kinds.file_kind`.
        sha256: Its hash, where somebody has named it.
        token: See `https.open_url`.
        progress: See `Progress`.

    Returns:
        The SHA-256 of the file, which is also recorded beside it.

    Raises:
        UserError: The address is refused, by us or by its server (`https.Refused`); the bytes are
            not those of `sha256` or not of that kind, and nothing is left of them.
        RunFailed: The server or the disk did not allow it this time. What has arrived is kept.
        OSError: The folder cannot be written to.
    """
    check_url(url, hash_known=sha256 is not None, token=token)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = PartialFile(target, url)

    def waiting() -> None:
        if progress is not None and part.size:
            progress(part.size, 0)

    with alone(target, waiting):
        if target.is_file():
            return check_file(target, sha256) or file_sha256(target)
        part.load()
        _fetch(part, sha256 is not None, token, progress)
        digest = file_sha256(part.path)
        try:
            _check(part, digest, sha256, kind)
        except UserError:
            part.remove()
            raise
        write_record(
            target, digest, measured=part.path, source=shown(url), given=sha256 is not None
        )
        os.replace(part.path, target)
        part.remove()
    return digest


def _check(part: PartialFile, digest: str, sha256: str | None, kind: str | None) -> None:
    """Raises UserError where what came is not what was meant."""
    if sha256 is not None and digest != sha256.lower():
        raise UserError(
            f"{shown(part.url)} has the SHA-256 {digest} and not {sha256.lower()}, and was removed "
            "again.",
            "Correct the hash, or ask who named it which file is meant.",
        )
    if kind is None:
        return
    try:
        refuse_other_kinds(part.path, kind)
    except UserError as error:
        problem = error.problem.replace(str(part.path), f"What {shown(part.url)} sent")
        raise UserError(problem, "It was removed again; check the address.") from error


def _fetch(
    part: PartialFile, hash_known: bool, token: str | None, progress: Progress | None
) -> None:
    """Attempts it until the part is whole."""
    failures, most = 0, part.size
    while not part.is_whole:
        try:
            _attempt(part, hash_known, token, progress)
            return
        except Interrupted as interruption:
            # Only bytes that have never been here count as progress: a server that ignores ranges
            # and always breaks off would be asked for ever.
            failures = 1 if part.size > most else failures + 1
            most = max(most, part.size)
            if failures > len(PAUSES):
                raise RunFailed(
                    f"{shown(part.url)} could not be downloaded ({interruption}).",
                    "What has arrived is kept; repeat the command to go on. Where there is no "
                    f"network, bring the file yourself and put it at {part.target}.",
                ) from interruption
            time.sleep(max(PAUSES[failures - 1], interruption.wait))


def _attempt(
    part: PartialFile, hash_known: bool, token: str | None, progress: Progress | None
) -> None:
    """One request, from where the part ends to the end of the file; raises Interrupted."""
    offset = part.size if part.validator else 0
    try:
        response = open_url(part.url, token=token, offset=offset, validator=part.validator)
    except Interrupted as interruption:
        if interruption.status == 416:
            # Nothing at that place: what is here is not the beginning of what is there.
            part.remove()
        raise
    with response:
        total = _take_up(part, response, hash_known)
        done = part.size
        free = shutil.disk_usage(part.target.parent).free
        if total - done > free:
            raise RunFailed(
                f"{part.target} needs {(total - done) / 1e9:.2f} GB more; {free / 1e9:.2f} GB are "
                "free there.",
                "Free some space, or let REMEDIS_MODELS begin with another folder.",
            )
        with open(part.path, "ab") as file:
            while not total or done < total:
                try:
                    chunk = response.read(min(_CHUNK, total - done) if total else _CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise Interrupted(reason_of(error)) from error
                if not chunk:
                    break
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    if done < total:
        raise Interrupted(f"the connection ended after {done:,} of {total:,} bytes")


def _take_up(part: PartialFile, response: http.client.HTTPResponse, hash_known: bool) -> int:
    """Brings the part to where the response begins.

    Returns:
        Bytes of the whole file, 0 if unknown.

    Raises:
        Interrupted: The response is not what was asked for.
        UserError: Nothing could tell whether the file is whole, or it comes compressed.
    """
    headers = response.headers
    if headers.get("Content-Encoding", "identity") != "identity":
        raise UserError(
            f"{shown(part.url)} is sent compressed ({headers['Content-Encoding']}).",
            "Download it yourself, unpack it and give its path.",
        )
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
        total = int(match[2]) if match else 0
        if match is None or int(match[1]) != part.size or part.total not in (0, total):
            part.remove()
            raise Interrupted("the server went on at another place than it was asked to")
        return total
    length = headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else 0
    if not total and not response.chunked and not hash_known:
        raise UserError(
            f"{shown(part.url)}: the server does not say how long the file is, so nothing tells "
            "when all of it is here.",
            "Append #sha256=HEX with the file's SHA-256, or download it yourself.",
        )
    etag = headers.get("ETag", "")
    # A weak tag may stand for files that differ in their bytes.
    part.begin(etag if etag.startswith('"') else headers.get("Last-Modified", ""), total)
    return total
