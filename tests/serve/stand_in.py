"""A stand-in for the network, and a client that calls a service through curl."""

import dataclasses
import io
import json
import subprocess
import threading
from types import SimpleNamespace

import numpy as np
from PIL import Image

from remedis_jax.data.resample import Resampling
from remedis_jax.weights.contract import Contract

GREY = Contract(channels=1, to_grey=False, host=Resampling(4), device=None, size=4, output_dim=2)


def png(level: int, side: int = 8) -> bytes:
    """A grey image of one value."""
    stream = io.BytesIO()
    Image.new("L", (side, side), level).save(stream, "PNG")
    return stream.getvalue()


class StandIn:
    """An engine whose feature is the mean of the prepared image; `run` can be held up."""

    def __init__(self, classes: tuple[str, ...] = (), calibrated: bool = False):
        self.model = SimpleNamespace(
            contract=GREY,
            classes=classes,
            kind="sigmoid" if classes else None,
            calibrated=calibrated,
            sha256="ab" * 32,
            card={"stage": "simclr", "encoder": {"name": "r14x0.25"}, "licence": {"name": "own"}},
        )
        self.outputs = ("embed", "predict") if classes else ("embed",)
        self.sizes = [1, 4]
        self.prepared = 0
        self.batches: list[int] = []
        self._lock = threading.Lock()
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None
        self.factor = 1.0

    def prepare(self, data: bytes, name: str) -> np.ndarray:
        prepared = GREY.prepare(data, name)
        with self._lock:
            self.prepared += 1
        return prepared

    def run(self, output: str, images: list[np.ndarray]) -> np.ndarray:
        self.open.wait(20)
        if self.error is not None:
            raise self.error
        self.batches.append(len(images))
        means = [image.mean() * self.factor for image in images]
        return np.array([[mean, mean / 255] for mean in means], np.float32)


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)


@dataclasses.dataclass
class Service:
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def curl(self, path: str, *arguments: str, data: bytes | None = None) -> Answer:
        """One request by curl, the body from its standard input where `data` is given."""
        command = ["curl", "--silent", "--show-error", "--max-time", "20", "--include"]
        done = subprocess.run(
            [*command, *arguments, self.url + path], input=data, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        while head.split()[1] == b"100":
            head, _, body = body.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return Answer(int(first.split()[1]), headers, body)

    def post(self, path: str, data: bytes, kind: str = "image/png", *arguments: str) -> Answer:
        """One image as the body."""
        return self.curl(
            path, "-H", f"Content-Type: {kind}", "--data-binary", "@-", *arguments, data=data
        )
