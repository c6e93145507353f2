"""What addresses of weights mean: `file:`, `https:`, `gs:` and `hf:`, with or without a hash."""

import dataclasses
import hashlib
import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from remedis_jax.errors import UserError
from remedis_jax.weights.registry.checksums import is_sha256
from remedis_jax.weights.registry.https import shown

_SCHEMES = ("file", "http", "https", "gs", "hf")
# What can be a pickle, which runs whatever its author likes when it is opened.
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib")
_KINDS = {".safetensors": "safetensors", ".npz": "npz"}
_GOOGLE_STORAGE = "https://storage.googleapis.com"
_HUGGING_FACE = "https://huggingface.co"


@dataclasses.dataclass(frozen=True)
class Location:
    """A file on a server.

    Attributes:
        url: Where it is asked for.
        file_name: What it is called.
        token: Sent as bearer, or None.
        if_refused: What to do where the server does not give it.
    """

    url: str
    file_name: str
    token: str | None = dataclasses.field(default=None, repr=False)
    if_refused: str = "Check the address; what one has to sign in for has to be downloaded by hand."

    @property
    def folder(self) -> Path:
        """Where it belongs in a models folder: two addresses never share a place."""
        return Path("downloads") / hashlib.sha256(self.url.encode()).hexdigest()[:16]

    @property
    def kind(self) -> str:
        return _KINDS[Path(self.file_name).suffix.lower()]


def split_hash(reference: str) -> tuple[str, str | None]:
    """`REST#sha256=HEX` -> (REST, HEX in lower case); without the end (reference, None).

    Raises:
        UserError: What follows is no SHA-256.
    """
    rest, found, value = reference.rpartition("#sha256=")
    if not found:
        return reference, None
    if not is_sha256(value):
        raise UserError(
            f"{value!r} after #sha256= is no SHA-256.", "It has 64 digits from 0-9 and a-f."
        )
    return rest, value.lower()


def scheme_of(text: str) -> str | None:
    """"file", "http", "https", "gs" or "hf"; None for what is no address.

    Raises:
        UserError: It is an address of another kind.
    """
    match = re.match(r"([A-Za-z][\w+.-]*):", text)
    scheme = match[1].lower() if match else None
    if scheme in _SCHEMES:
        return scheme
    if match and "://" in text:
        raise UserError(
            f"{text.partition('://')[0]}: is no address that is read here.",
            f"Use {', '.join(f'{name}:' for name in _SCHEMES if name != 'http')} or a path.",
        )
    return None


def location_of(address: str) -> Location:
    """What `https:`, `gs:` and `hf:` addresses mean.

    Args:
        address: E.g. `https://HOST/PATH`, `gs://BUCKET/OBJECT`, `hf://ORG/REPO[@REV]/PATH`.

    Raises:
        UserError: It is incomplete, or names a file of a kind that is not read.
    """
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise UserError(f"{address} is no address ({error}).", "Correct it.") from error
    refuse_suffix(unquote(parts.path), shown(address))
    scheme = scheme_of(address)
    if scheme == "gs":
        return _google_storage(address)
    if scheme == "hf":
        return _hugging_face(address)
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~")
    url = parts._replace(path=path, fragment="").geturl()
    return Location(url, _file_name(parts.path))


def path_of(address: str) -> Path:
    """The path of a `file:` address.

    Raises:
        UserError: It is on another machine.
    """
    host, slashes, rest = address[len("file:") :].partition("//")
    if not slashes or host:
        return Path(unquote(address[len("file:") :]))
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost"):
        raise UserError(
            f"{address} names the machine {host!r}.", "Write file:///PATH for one on this machine."
        )
    return Path(unquote(slash + path))


def refuse_suffix(path: str, named: str) -> None:
    """Raises UserError where a name says that the file is a pickle, or nothing that is read here.

    Args:
        path: Whose end is looked at.
        named: What to call it in the error.
    """
    suffix = Path(path).suffix.lower()
    if suffix in PICKLES:
        raise UserError(
            f"{named} is a pickle by its name ({suffix}), which can run any program when it is "
            "opened; nothing here opens one.",
            "Ask for the weights as safetensors.",
        )
    if suffix not in _KINDS:
        raise UserError(
            f"{named} is neither .safetensors nor .npz by its name.",
            "Give the address of such a file; folders and archives have to be downloaded by hand.",
        )


def _google_storage(address: str) -> Location:
    bucket, _, name = address.partition("://")[2].partition("/")
    if not bucket or not name:
        raise UserError(f"{address} is incomplete.", "Write gs://BUCKET/OBJECT.")
    return Location(
        f"{_GOOGLE_STORAGE}/{quote(bucket, safe='')}/{quote(name, safe='/')}",
        _file_name(name),
        if_refused="Only public objects are read. If it is yours, copy it and give the copy: "
        f"gcloud storage cp {address} .",
    )


def _hugging_face(address: str) -> Location:
    owner, _, rest = address.partition("://")[2].partition("/")
    repository, _, path = rest.partition("/")
    repository, _, revision = repository.partition("@")
    if not (owner and repository and path):
        raise UserError(f"{address} is incomplete.", "Write hf://ORG/REPO[@REVISION]/PATH.")
    page = f"{_HUGGING_FACE}/{quote(owner, safe='')}/{quote(repository, safe='')}"
    token = os.environ.get("HF_TOKEN", "").strip() or None
    if token is not None and re.search(r"[^\x21-\x7e]", token):
        raise UserError("HF_TOKEN holds a space or a character that no token has.", "Correct it.")
    return Location(
        f"{page}/resolve/{quote(unquote(revision), safe='') or 'main'}/{quote(path, safe='/')}",
        _file_name(path),
        token,
        f"Check repository, revision and path at {page}; where its terms have to be accepted, "
        "accept them there and set HF_TOKEN to a token of yours.",
    )


def _file_name(path: str) -> str:
    """The last part of a path, as the name of a file here."""
    name = unquote(path).rpartition("/")[2]
    if not name or len(name.encode()) > 200 or not name.isprintable() or "\\" in name:
        raise UserError(f"{name!r} is no name for a file.", "Download it by hand and rename it.")
    return name
