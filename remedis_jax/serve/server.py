"""The process around the application: address, log, signals."""

import ipaddress
import logging
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import uvicorn
from PIL import Image
from starlette.types import ASGIApp

from remedis_jax.errors import UserError
from remedis_jax.serve.guard import LOGGER
from remedis_jax.serve.limits import Limits

_SHORTEST_TOKEN = 16
# What is under way when the service is told to stop gets so long.
_GRACE_SECONDS = 30
_MOST_CONNECTIONS = 256
# Names of this machine. A web page may lead a browser to it by another (DNS rebinding).
LOCAL_NAMES = ["localhost", "127.0.0.1", "[::1]", "::1"]


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: Path) -> str:
    """The bearer token in a file, without surrounding blanks.

    Raises:
        UserError: It cannot be read, or holds no usable token.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UserError(
            f"Token file {path} cannot be read ({reason}).", "Check --token-file."
        ) from None
    if (
        len(token) < _SHORTEST_TOKEN
        or not token.isascii()
        or not token.isprintable()
        or " " in token
    ):
        raise UserError(
            f"Token file {path} does not hold one word of at least {_SHORTEST_TOKEN} ASCII"
            " characters.",
            "Make one: python -c 'import secrets; print(secrets.token_urlsafe())' > FILE.",
        )
    return token


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address; nothing can connect before `run` listens on it.

    Raises:
        UserError: It is in use, forbidden, or no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        # Else an address cannot be used for a minute after the service has ended.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        reason = (getattr(error, "strerror", None) or "no such address").lower()
        raise UserError(
            f"The service cannot use {host} port {port} ({reason}).",
            "Stop what uses it, or give another --host or --port.",
        ) from None
    return bound


class _Server(uvicorn.Server):
    """uvicorn's, which says when it listens."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]):
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def run(
    app: ASGIApp, bound: socket.socket, limits: Limits, announce: Callable[[str], None]
) -> None:
    """Serves until SIGTERM or SIGINT; then finishes what is under way and returns.

    Args:
        app: As from `create_app`.
        bound: As from `bind`.
        limits: The application's.
        announce: Called with one line once requests are answered.
    """
    _set_up_process(limits)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # `guard` writes one in which no text is the client's
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    host, port = bound.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    server = _Server(config, lambda: announce(f"ready on {address} (page: {address}/docs)"))
    # uvicorn raises a signal again when it is done, for whoever had a handler before. That is us,
    # and all is done by then; without this the process would die of it instead of returning.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    server.run(sockets=[bound])


def _set_up_process(limits: Limits) -> None:
    """Log and image limits, for the whole process: it does nothing but serve."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    levels = {
        LOGGER.name: logging.INFO,
        "uvicorn.error": logging.WARNING,
        # Their messages quote requests, files and exceptions.
        "asyncio": logging.CRITICAL,
        "python_multipart": logging.CRITICAL,
        "pydicom": logging.CRITICAL,
    }
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers, logger.propagate = [handler], False
    # Pillow warns at its limit and refuses at twice that.
    Image.MAX_IMAGE_PIXELS = limits.pixels // 2
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
