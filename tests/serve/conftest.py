"""The service on a real socket, in a thread of the test."""

import functools
import socket
import threading
import time

import pytest
import uvicorn

from remedis_jax.serve.app import create_app
from remedis_jax.serve.limits import Limits
from tests.serve.stand_in import Service, StandIn


@pytest.fixture
def serve_in_thread():
    """Starts services; (engine, limits, ...) -> Service."""
    running = []

    def start(engine: StandIn, limits: Limits = Limits(), **options) -> Service:  # noqa: B008
        app = create_app(engine, limits, **options)
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, loop="asyncio", http="h11")
        )
        bound = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=functools.partial(server.run, sockets=[bound]))
        thread.start()
        running.append((server, thread, engine))
        end = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < end and thread.is_alive()
            time.sleep(0.005)
        return Service(*bound.getsockname())

    yield start
    for server, thread, engine in running:
        engine.open.set()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
