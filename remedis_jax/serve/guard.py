"""Around the whole application: an access log without contents, security headers, last errors.

A path, a file name and the text of an exception may hold a patient's name; none of them is logged.
"""

import logging
import time
import traceback
from pathlib import Path

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOGGER = logging.getLogger("remedis_jax.serve")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_NOTHING = "default-src 'none'; frame-ancestors 'none'"
# Swagger's page has its call in an inline script and draws with data: images.
_DOCS = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'"
)


class Guard:
    """ASGI middleware.

    Args:
        app: The application.
        paths: Those that are logged by name; every other is logged as "(other)".
        docs_path: The page that may run its own scripts.
    """

    def __init__(self, app: ASGIApp, paths: frozenset[str], docs_path: str):
        self._app = app
        self._paths = paths
        self._docs_path = docs_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.monotonic()
        status = 0
        policy = _DOCS if scope["path"] == self._docs_path else _NOTHING
        headers = _HEADERS | {"content-security-policy": policy}

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = [(name.encode(), value.encode()) for name, value in headers.items()]
                message = message | {"headers": [*message["headers"], *extra]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = 499  # nginx's number for a client that went away
        except Exception as error:
            # The answer (500) has been sent; the server would print the text of the exception.
            where = traceback.extract_tb(error.__traceback__)[-1]
            LOGGER.error(
                "defect: %s in %s, line %d",
                type(error).__name__,
                Path(where.filename).name,
                where.lineno or 0,
            )
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "(other)"
            path = scope["path"] if scope["path"] in self._paths else "(other)"
            taken = 1000 * (time.monotonic() - start)
            LOGGER.info("%s %s %d %.0f ms", method, path, status, taken)
