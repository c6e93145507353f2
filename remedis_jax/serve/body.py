"""Reading the images of a request: one as the body, or several as multipart/form-data.

Sizes are enforced while the bytes arrive, and everything stays in memory: a temporary file would
leave a patient's image on the disk.
"""

import asyncio
import dataclasses
from typing import Any, Protocol

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from remedis_jax.serve.limits import Limits
from remedis_jax.serve.refusal import BODY_READ, Refusal

MULTIPART = "multipart/form-data"
FIELD = "files"
IMAGE_TYPES = (
    "image/png",
    "image/jpeg",
    "image/tiff",
    "image/bmp",
    "application/dicom",
    "application/octet-stream",
)
_LONGEST_NAME = 200


@dataclasses.dataclass(frozen=True)
class Upload:
    """One image of a request.

    Attributes:
        index: Its place in the request, from 0.
        name: The file name that the client gave, or "".
        data: The bytes of the file.
    """

    index: int
    name: str
    data: bytes

    @property
    def reference(self) -> dict[str, Any]:
        """How an answer names it."""
        return {"index": self.index, "name": self.name or None}

    @property
    def called(self) -> str:
        """How a message names it."""
        return f"image {self.index}" + (f" ({self.name})" if self.name else "")


class HeldBytes:
    """The bytes of all requests that are in memory.

    Args:
        most: Beyond this a request is turned away.
    """

    def __init__(self, most: int):
        self._most = most
        self._held = 0

    def take(self, count: int) -> None:
        """Raises Refusal where it would be too many."""
        if self._held + count > self._most:
            raise Refusal(
                503,
                "The service is reading as much as its memory is meant for.",
                "Try again in a second.",
                headers={"Retry-After": "1"},
            )
        self._held += count

    def give_back(self, count: int) -> None:
        self._held -= count


class Body:
    """The body of one request.

    Args:
        request: Its body has not been read.
        limits: What is accepted.
        held: Shared by all requests.
    """

    def __init__(self, request: Request, limits: Limits, held: HeldBytes):
        self._request = request
        self._limits = limits
        self._held = held
        self._taken = 0

    def release(self) -> None:
        """Says that the bytes are no longer needed; may be said twice."""
        self._held.give_back(self._taken)
        self._taken = 0

    async def read(self) -> list[Upload]:
        """Reads it to its end.

        Returns:
            At least one image.

        Raises:
            Refusal: 400, 408, 413, 415 or 503.
        """
        limits, headers = self._limits, self._request.headers
        kind, options = parse_options_header(headers.get("content-type", IMAGE_TYPES[-1]))
        sink = _sink(kind.decode("latin-1").lower(), options, limits)
        if headers.get("content-encoding", "identity") != "identity":
            raise Refusal(415, "The body is compressed.", "Send it as it is.")
        # Not a number only where the body comes in chunks: the HTTP parser refuses the rest.
        if int(headers.get("content-length", 0)) > sink.most_bytes:
            raise sink.too_large()
        try:
            async with asyncio.timeout(limits.body_seconds):
                async for chunk in self._request.stream():
                    if self._taken + len(chunk) > sink.most_bytes:
                        raise sink.too_large()
                    self._held.take(len(chunk))
                    self._taken += len(chunk)
                    sink.write(chunk)
        except TimeoutError:
            raise Refusal(
                408,
                f"The body took more than {limits.body_seconds:g} seconds.",
                "Send less at once.",
            ) from None
        self._request.scope[BODY_READ] = True
        if not self._taken:
            raise Refusal(400, "The body is empty.", "Send an image, e.g. --data-binary @scan.png.")
        return sink.uploads()


class _Sink(Protocol):
    most_bytes: int

    def write(self, chunk: bytes) -> None: ...

    def uploads(self) -> list[Upload]: ...

    def too_large(self) -> Refusal: ...


def _sink(kind: str, options: dict[bytes, bytes], limits: Limits) -> _Sink:
    if kind == MULTIPART:
        return _Form(options.get(b"boundary", b""), limits)
    if kind in IMAGE_TYPES:
        return _Single(limits)
    raise Refusal(
        415,
        "The content type is not one of an image.",
        f"Send {MULTIPART} or one of {', '.join(IMAGE_TYPES)}; with curl --data-binary, add e.g."
        " -H 'Content-Type: image/png'.",
    )


class _Single:
    """The body is one image."""

    def __init__(self, limits: Limits):
        self.most_bytes = limits.image_bytes
        self._data = bytearray()

    def write(self, chunk: bytes) -> None:
        self._data += chunk

    def uploads(self) -> list[Upload]:
        return [Upload(0, "", bytes(self._data))]

    def too_large(self) -> Refusal:
        return _image_too_large(self.most_bytes, {"index": 0, "name": None})


def _image_too_large(most: int, image: dict[str, Any]) -> Refusal:
    return Refusal(
        413,
        f"An image is larger than the {most / 2**20:g} MiB that this service takes.",
        "Send a smaller file, or start the service with a larger --max-image-mib.",
        image=image,
    )


class _Form:
    """The body is a form with one part for each image."""

    def __init__(self, boundary: bytes, limits: Limits):
        self.most_bytes = limits.request_bytes
        self._limits = limits
        self._uploads: list[Upload] = []
        self._ended = False
        if not boundary:
            raise _malformed("its boundary is missing")
        names = (
            "part_begin", "header_field", "header_value", "header_end", "headers_finished",
            "part_data", "part_end", "end",
        )  # fmt: skip
        callbacks = {f"on_{name}": getattr(self, f"_{name}") for name in names}
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError:
            raise _malformed("its boundary is too long") from None

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError:
            # Its text quotes the body.
            raise _malformed("its parts cannot be told apart") from None

    def uploads(self) -> list[Upload]:
        if not self._ended:
            raise _malformed("it ends before its last boundary")
        if not self._uploads:
            raise _malformed("it has no part")
        return self._uploads

    def too_large(self) -> Refusal:
        return Refusal(
            413,
            f"The request is larger than the {self.most_bytes / 2**20:g} MiB that this service"
            " takes.",
            "Send fewer images at once, or start the service with a larger --max-request-mib.",
        )

    def _part_begin(self) -> None:
        if len(self._uploads) == self._limits.images:
            raise Refusal(
                413,
                f"The request has more than the {self._limits.images} images that this service"
                " takes.",
                "Send fewer at once, or start the service with a larger --max-images.",
            )
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = b"", b""
        self._name, self._data = "", bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if options.get(b"name") != FIELD.encode() or b"filename" not in options:
            raise _malformed(f"a part is not a file called {FIELD!r}")
        name = options[b"filename"].decode("utf-8", "replace")
        self._name = "".join(c for c in name if c.isprintable())[:_LONGEST_NAME]

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if len(self._data) + end - start > self._limits.image_bytes:
            upload = Upload(len(self._uploads), self._name, b"")
            raise _image_too_large(self._limits.image_bytes, upload.reference)
        self._data += data[start:end]

    def _part_end(self) -> None:
        self._uploads.append(Upload(len(self._uploads), self._name, bytes(self._data)))

    def _end(self) -> None:
        self._ended = True


def _malformed(reason: str) -> Refusal:
    return Refusal(
        400,
        f"The form is malformed: {reason}.",
        f"Send {MULTIPART} with one file part called {FIELD!r} for each image, as"
        f" curl -F {FIELD}=@a.png -F {FIELD}=@b.png does.",
    )
