"""Asking a server for a file over https: what is accepted, what is refused, what is tried again."""

import http.client
import re
import ssl
import urllib.error
import urllib.request
from urllib.parse import urljoin, urlsplit, urlunsplit

from remedis_jax import __version__
from remedis_jax.errors import UserError

# Seconds in which a server has to say something (ours).
TIMEOUT = 30.0
_LONGEST_WAIT = 60.0
_TRY_AGAIN = (408, 416, 425, 429, 500, 502, 503, 504)


class Refused(UserError):
    """The server has answered that it will not give the file.

    Attributes:
        status: Of HTTP.
    """

    def __init__(self, problem: str, remedy: str, status: int):
        super().__init__(problem, remedy)
        self.status = status


class Interrupted(Exception):
    """An attempt ended early and may be repeated.

    Attributes:
        status: Of HTTP, if the server has answered.
        wait: Seconds that the server wants to pass first.
    """

    def __init__(self, reason: object, status: int | None = None, wait: float = 0.0):
        super().__init__(str(reason))
        self.status = status
        self.wait = wait


def shown(url: str) -> str:
    """An address without what may be secret in it: its query, a password."""
    scheme, host, path, _, _ = urlsplit(url)
    return urlunsplit((scheme, host.rpartition("@")[2], path, "", ""))


def check_url(url: str, *, hash_known: bool, token: str | None = None) -> None:
    """Raises UserError where an address is not one to download weights from.

    Args:
        url: https; http only where the hash of the file is known and no token is sent, since
            nothing else protects either on the way.
        hash_known: Whether the file's SHA-256 is going to be compared.
        token: What would be sent along.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UserError(f"{url} is no address ({error}).", "Correct it.") from error
    if parts.username is not None or parts.password is not None:
        raise UserError(
            f"The address of {host} has a user name or a password in it.",
            "Leave it out, since addresses are recorded; or download the file yourself and give "
            "its path.",
        )
    if not host or re.search(r"[^\x21-\x7e]", url):
        raise UserError(
            f"{shown(url)!r} is no address of a file.",
            "Write https://HOST/PATH, with %20 for a space.",
        )
    if parts.scheme == "https":
        return
    if parts.scheme != "http" or not hash_known or token is not None:
        raise UserError(
            f"{shown(url)} is not encrypted, so anybody on the way could change the file.",
            "Use https, or append #sha256=HEX with the file's SHA-256.",
        )


def open_url(
    url: str, *, token: str | None = None, offset: int = 0, validator: str = ""
) -> http.client.HTTPResponse:
    """Sends a GET and returns the response to read from.

    Args:
        url: See `check_url`.
        token: Sent as bearer to the host of `url`, and to no other that it leads on to.
        offset: First byte that is wanted.
        validator: Of the version that the earlier bytes are of; if the server has another one, it
            sends that from its first byte (If-Range of RFC 9110).

    Raises:
        Refused: The server will not.
        UserError: It leads on to something that is not https, or has no valid certificate.
        Interrupted: It did not answer, or is busy.
    """
    # Compressed on the way, the bytes would not be those of the file.
    headers = {"User-Agent": f"remedis_jax/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    request = urllib.request.Request(url, headers=headers)
    if token is not None:
        # Ordinary headers are copied to wherever the request is redirected.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        return _opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            answer = f"HTTP {error.code} {error.reason}"
            if error.code in _TRY_AGAIN:
                wait = error.headers.get("Retry-After", "")
                seconds = min(float(wait), _LONGEST_WAIT) if wait.isdecimal() else 0.0
                raise Interrupted(answer, error.code, seconds) from error
            raise Refused(
                f"{shown(url)} cannot be had ({answer}).", "Check the address.", error.code
            ) from error
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise UserError(
                f"{shown(url)}: the server's certificate is not accepted "
                f"({cause.verify_message}).",
                "Behind a proxy that opens connections, set SSL_CERT_FILE to its certificate.",
            ) from error
        raise Interrupted(reason_of(cause)) from error


def reason_of(error: object) -> str:
    """What went wrong with a connection, in a few words."""
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended early"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or type(error).__name__


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https and to nothing else."""

    def http_error_302(self, req, fp, code, msg, headers):
        location = urljoin(req.full_url, headers.get("Location", ""))
        if urlsplit(location).scheme != "https":
            fp.close()
            raise UserError(
                f"{shown(req.full_url)} leads on to {shown(location)}, which is not https.",
                "Give the https address of the file itself.",
            )
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        authorization = req.unredirected_hdrs.get("Authorization")
        if authorization and urlsplit(newurl).netloc == urlsplit(req.full_url).netloc:
            request.add_unredirected_header("Authorization", authorization)
        return request


def _opener() -> urllib.request.OpenerDirector:
    """Speaks http and https, through the proxies of the environment; no file: and no ftp:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        https_handler(),
        _OnlyHttps(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def https_handler() -> urllib.request.BaseHandler:
    """What opens https connections and verifies certificates."""
    return urllib.request.HTTPSHandler(context=ssl.create_default_context())
