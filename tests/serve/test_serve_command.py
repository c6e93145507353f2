"""`remedis serve` with real weights, from the ready line to SIGTERM; what it refuses to start."""

import http.client
import io
import re
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import remedis_jax
from remedis_jax.cli.main import run_and_exit
from remedis_jax.cli.serve import serve
from remedis_jax.errors import UserError
from remedis_jax.evaluation.model import load
from remedis_jax.serve import server
from remedis_jax.serve.engine import Engine
from remedis_jax.serve.limits import Limits
from remedis_jax.weights.artifact import save_artifact
from tests.serve.stand_in import Service
from tests.weights.conftest import SMALL, make_card, random_params

SERVE = [sys.executable, "-m", "remedis_jax", "serve"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A tiny classifier, calibrated."""
    path = tmp_path_factory.mktemp("serve") / "w.safetensors"
    card = make_card(SMALL, 3)
    card["head"]["temperature"] = 2.0
    save_artifact(path, random_params(SMALL, 3), card)
    return path


def images(count: int) -> list[bytes]:
    encoded = []
    for seed in range(count):
        stream = io.BytesIO()
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(stream, "PNG")
        encoded.append(stream.getvalue())
    return encoded


def test_padding_changes_nothing(weights):
    engine = Engine(load(weights))
    given = images(3)
    prepared = [engine.prepare(data, "an image") for data in given]
    assert all(size % 8 == 0 for size in engine.sizes)  # conftest's devices
    np.testing.assert_array_equal(engine.run("embed", prepared), engine.model.embed(given))
    np.testing.assert_array_equal(engine.run("predict", prepared), engine.model.predict(given))


def test_from_the_ready_line_to_sigterm(weights):
    with subprocess.Popen(
        [*SERVE, "--weights", weights, "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        watchdog = threading.Timer(120, process.kill)
        watchdog.start()
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "ready on" in line:
                    break
            assert any("compiling predict for 8 image" in line for line in lines), lines
            host, port = re.search(r"http://([\d.]+):(\d+) ", lines[-1]).groups()
            assert host == "127.0.0.1"
            service = Service(host, int(port))
            [data] = images(1)
            answer = service.post("/v1/predict", data).json
            model = remedis_jax.load(weights)
            assert answer["weights"] == model.sha256 and answer["calibrated"] is True
            [expected] = model.predict([data])
            given = answer["images"][0]["probabilities"]
            assert list(given) == ["class 0", "class 1", "class 2"]
            np.testing.assert_allclose(list(given.values()), expected, atol=1e-5)

            # The second half of a request arrives after the signal.
            client = http.client.HTTPConnection(host, int(port), timeout=60)
            client.putrequest("POST", "/v1/embed")
            client.putheader("Content-Type", "image/png")
            client.putheader("Content-Length", str(len(data)))
            client.endheaders(data[:100])
            service.curl("/health")  # so that the first half has been read
            process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionRefusedError):
                while True:
                    socket.create_connection((host, int(port)), timeout=60).close()
            client.send(data[100:])
            response = client.getresponse()
            assert response.status == 200 and b"embedding" in response.read()
            client.close()
            _, errors = process.communicate()
            assert process.returncode == 0, errors
            assert "POST /v1/embed 200" in errors and "Traceback" not in errors
        finally:
            watchdog.cancel()
            process.kill()


@pytest.fixture
def refused(capsys):
    """Calls the command, which must end in one line and exit code 2."""

    def call(**options) -> str:
        with pytest.raises(SystemExit) as stop:
            run_and_exit(lambda: serve("none.safetensors", **options))
        assert stop.value.code == 2
        [line] = capsys.readouterr().err.splitlines()
        return line

    return call


def test_port_in_use_is_one_line(refused):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refused(port=port)
    assert line.startswith(f"remedis: error: The service cannot use 127.0.0.1 port {port} (address")


def test_strangers_need_a_token(refused):
    line = refused(host="0.0.0.0")
    assert "lets other machines in" in line and "--token-file" in line
    assert [server.is_loopback(host) for host in ("localhost", "127.0.0.9", "::1")] == [True] * 3
    assert not any(server.is_loopback(host) for host in ("0.0.0.0", "::", "192.168.0.1", "a.b"))
    with pytest.raises(UserError, match="cannot use no.such.host.invalid"):
        server.bind("no.such.host.invalid", 1)


def test_token_files(tmp_path):
    path = tmp_path / "token"
    with pytest.raises(UserError, match="cannot be read"):
        server.read_token(path)
    for text in ("", "short", "two words of length", "täken-of-16-chars"):
        path.write_text(text)
        with pytest.raises(UserError, match="one word of at least 16") as caught:
            server.read_token(path)
        assert not text or text not in str(caught.value)
    path.write_text(" a-token-of-17-chr\n")
    assert server.read_token(path) == "a-token-of-17-chr"


def test_a_missing_extra_is_named(refused, monkeypatch):
    monkeypatch.delitem(sys.modules, "remedis_jax.serve.app")
    monkeypatch.setitem(sys.modules, "fastapi_offline", None)
    line = refused()
    assert "needs fastapi_offline" in line and "pip install 'remedis_jax[serve]'" in line


def test_limits_exclude_nonsense():
    for wrong in ({"images": 0}, {"image_bytes": 2**30}, {"images": 1000}):
        with pytest.raises(UserError):
            Limits(**wrong)
