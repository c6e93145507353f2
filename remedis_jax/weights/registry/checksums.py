"""The `NAME.sha256` beside a file of weights: what its bytes have to be, and whether they are.

The record is a line that `sha256sum -c` reads. A record of ours begins with a comment that holds
the size and the time of change that the hash was taken at: as long as both are the same the file is
not read again, since hashing a gigabyte takes most of a second. That finds damage and mix-ups; it
is no protection from somebody who can write to the folder, who could change the record as well.
`remedis models verify` always reads the whole file.
"""

import dataclasses
import json
import os
import re
from pathlib import Path

from remedis_jax.data.dataset import file_sha256
from remedis_jax.errors import UserError

_LINE = re.compile(r"(?i)^\\?([0-9a-f]{64})(?:[ \t].*)?$")
_MARK = "# remedis_jax "


@dataclasses.dataclass(frozen=True)
class Record:
    """What is known of a file's bytes.

    Attributes:
        sha256: Lower-case hex.
        size: In bytes, when the hash was taken; None in a record that is not ours.
        modified: Time of change in ns, then; None likewise.
        source: Where the file came from, or "".
        given: Whether somebody named the hash; False if it is that of the first download.
    """

    sha256: str
    size: int | None = None
    modified: int | None = None
    source: str = ""
    given: bool = True

    @property
    def is_ours(self) -> bool:
        return self.size is not None


def record_path(path: Path) -> Path:
    """`FILE` -> `FILE.sha256`."""
    return path.with_name(path.name + ".sha256")


def is_sha256(text: str) -> bool:
    """Whether a text is the hex form of a SHA-256."""
    return re.fullmatch(r"(?i)[0-9a-f]{64}", text) is not None


def write_record(
    path: Path, sha256: str, *, measured: Path | None = None, source: str = "", given: bool = True
) -> None:
    """Records the hash of a file.

    Args:
        path: The file that the record is for.
        sha256: Its hash.
        measured: The file in which the bytes still are, where `path` is yet to be made from it.
        source: Where they came from.
        given: See `Record`.

    Raises:
        OSError: It cannot be written.
    """
    status = (measured or path).stat()
    content = {
        "size": status.st_size,
        "modified": status.st_mtime_ns,
        "source": source,
        "given": given,
    }
    target = record_path(path)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(
            f"{_MARK}{json.dumps(content)}\n{sha256}  {path.name}\n", encoding="utf-8"
        )
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def read_record(path: Path) -> Record | None:
    """The record beside a file, ours or one that sha256sum wrote; None where there is none.

    Raises:
        UserError: It holds no SHA-256.
    """
    target = record_path(path)
    try:
        with open(target, encoding="utf-8") as file:
            lines = file.read(2**16).splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{target} cannot be read ({error}).", "Restore or remove it.") from error
    found = [match[1] for line in lines if (match := _LINE.match(line))]
    if len(found) != 1:
        raise UserError(
            f"{target} holds {len(found)} SHA-256 hashes and not one.",
            "Make it again with sha256sum, or remove it.",
        )
    ours = [line.removeprefix(_MARK) for line in lines if line.startswith(_MARK)]
    if not ours:
        return Record(found[0].lower())
    try:
        return Record(found[0].lower(), **json.loads(ours[0]))
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{target} is damaged: its first line is not what this project writes.", "Remove it."
        ) from error


def check_file(path: Path, wanted: str | None = None, *, whole: bool = False) -> str | None:
    """Compares a file with its record and with the hash that is wanted.

    Args:
        path: An existing file.
        wanted: Hash that the user names, hex in any case; None for none.
        whole: Read the file even if size and time of change are those of the record.

    Returns:
        The hash of the file; None where nothing is known of it and nothing was to be compared.

    Raises:
        UserError: The bytes are not those recorded, or not those wanted.
    """
    record = read_record(path)
    if record is None and wanted is None and not whole:
        return None
    status = path.stat()
    unchanged = record is not None and (record.size, record.modified) == (
        status.st_size,
        status.st_mtime_ns,
    )
    found = record.sha256 if unchanged and not whole else file_sha256(path)
    if record is not None and found != record.sha256:
        raise UserError(
            f"{path} has the SHA-256 {found}, and {record.sha256} is recorded beside it: it has "
            "been damaged or replaced.",
            f"Remove it and {record_path(path).name}, then get it again.",
        )
    if wanted is not None and found != wanted.lower():
        raise UserError(
            f"{path} has the SHA-256 {found} and not {wanted.lower()}.",
            "These are other bytes; correct the hash, or remove the file and get it again.",
        )
    if record is not None and record.is_ours and not unchanged and os.access(path.parent, os.W_OK):
        # Moved or copied: the next use need not read it again. In a folder that others own every
        # use does.
        write_record(path, found, source=record.source, given=record.given)
    return found
