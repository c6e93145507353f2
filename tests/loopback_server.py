"""A real server on this machine for downloads: ranges, cuts, changed files, redirects, refusals."""

import contextlib
import dataclasses
import hashlib
import http.client
import re
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclasses.dataclass
class Served:
    """What lies at one path.

    Attributes:
        content: Its bytes.
        headers: Sent besides; a None takes a usual one away.
        ranges: Whether ranges are served.
        cuts: Bytes after which a response breaks off, one per request until they are used up.
        statuses: Sent instead, one per request until they are used up.
        redirect: Where to instead.
        chunked: Sent in chunks, without its length.
    """

    content: bytes = b""
    headers: dict = dataclasses.field(default_factory=dict)
    ranges: bool = True
    cuts: list = dataclasses.field(default_factory=list)
    statuses: list = dataclasses.field(default_factory=list)
    redirect: str = ""
    chunked: bool = False


class LoopbackServer:
    """Serves `files` by path, whatever the host; `requests` holds (path, headers) in order."""

    def __init__(self):
        self.files: dict[str, Served] = {}
        self.requests: list[tuple[str, dict]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def https(self) -> urllib.request.BaseHandler:
        """Opens every https address at this server, so that no test needs a certificate."""
        port = self.port

        class Handler(urllib.request.HTTPSHandler):
            def https_open(self, request):
                def connect(host, **options):
                    return http.client.HTTPConnection("127.0.0.1", port, timeout=10)

                return self.do_open(connect, request)

        return Handler()

    def _handler(self):
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_GET(self):
                owner.requests.append((self.path, dict(self.headers)))
                served = owner.files.get(self.path.partition("?")[0])
                if served is None:
                    self._answer(404, {})
                elif served.statuses:
                    self._answer(served.statuses.pop(0), {})
                elif served.redirect:
                    self._answer(302, {"Location": served.redirect})
                else:
                    self._send(served)

            def _answer(self, status, headers, body=b""):
                self.send_response(status)
                usual = {"Content-Length": str(len(body)), "Connection": "close"}
                for name, value in (usual | headers).items():
                    if value is not None:
                        self.send_header(name, value)
                self.end_headers()
                # Reset by the client's leaving early is what some tests are about.
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body)
                self.close_connection = True

            def _send(self, served):
                etag = f'"{hashlib.sha256(served.content).hexdigest()[:12]}"'
                headers = {"ETag": etag} | served.headers
                content, status = served.content, 200
                asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                same = self.headers.get("If-Range") in (
                    headers.get("ETag"),
                    headers.get("Last-Modified"),
                )
                if asked and same and served.ranges:
                    first, total = int(asked[1]), len(content)
                    if first >= total:
                        return self._answer(416, {"Content-Range": f"bytes */{total}"})
                    content, status = content[first:], 206
                    headers.setdefault("Content-Range", f"bytes {first}-{total - 1}/{total}")
                if served.chunked:
                    headers |= {"Transfer-Encoding": "chunked", "Content-Length": None}
                    content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
                headers = {"Content-Length": str(len(content))} | headers
                if served.cuts:
                    content = content[: served.cuts.pop(0)]
                self._answer(status, headers, content)

        return Handler


@contextlib.contextmanager
def loopback_server(monkeypatch) -> Iterator[LoopbackServer]:
    """A running server that https addresses of any host lead to, and no pauses between attempts."""
    server = LoopbackServer()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("remedis_jax.weights.registry.https.https_handler", server.https)
    monkeypatch.setattr("remedis_jax.weights.registry.download.PAUSES", (0.0, 0.0, 0.0))
    try:
        yield server
    finally:
        server.stop()
