"""Downloads over a real socket: whole and checked, or nothing that could be taken for good."""

import hashlib
import os
import shutil
import subprocess
import threading

import numpy as np
import pytest

from remedis_jax.errors import RunFailed, UserError
from remedis_jax.weights.registry.checksums import read_record, record_path
from remedis_jax.weights.registry.download import download
from remedis_jax.weights.registry.https import check_url, shown
from remedis_jax.weights.registry.partial_file import PartialFile
from tests.loopback_server import Served, loopback_server

CONTENT = np.random.default_rng(0).bytes(1_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
URL = "https://weights.example/a/file.npz"


@pytest.fixture
def server(monkeypatch):
    with loopback_server(monkeypatch) as running:
        running.files["/a/file.npz"] = Served(CONTENT)
        yield running


def only(folder, *names):
    """Whether a folder holds these files and no other, hidden ones included."""
    return sorted(os.listdir(folder)) == sorted(names)


def ranges(server):
    return [headers.get("Range") for _, headers in server.requests]


def test_file_comes_whole_with_progress_and_record(server, tmp_path):
    seen = []
    target = tmp_path / "new" / "folder" / "file.npz"
    assert download(URL, target, progress=lambda *n: seen.append(n)) == DIGEST
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and seen == sorted(seen) and len(seen) > 3
    assert only(target.parent, "file.npz", "file.npz.sha256")
    record = read_record(target)
    assert (record.sha256, record.source, record.given) == (DIGEST, URL, False)
    assert server.requests[0][1]["Accept-Encoding"] == "identity"
    # A second call asks nobody.
    assert download(URL, target) == DIGEST and len(server.requests) == 1


def test_record_is_what_sha256sum_reads(server, tmp_path):
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum on this machine")
    download(URL, tmp_path / "file.npz")
    check = ["sha256sum", "-c", "--strict", "file.npz.sha256"]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True).returncode == 0


def test_broken_connection_goes_on_where_it_stopped(server, tmp_path):
    server.files["/a/file.npz"].cuts = [300_000, 250_000]
    assert download(URL, tmp_path / "file.npz") == DIGEST
    assert ranges(server) == [None, "bytes=300000-", "bytes=550000-"]
    assert (tmp_path / "file.npz").read_bytes() == CONTENT


def test_next_command_goes_on_where_the_last_one_gave_up(server, tmp_path):
    target = tmp_path / "file.npz"
    server.files["/a/file.npz"].cuts = [300_000, 0, 0, 0, 0]
    with pytest.raises(RunFailed, match=r"ended after 300,000 of 1,000,000 bytes.*repeat"):
        download(URL, target)
    assert only(tmp_path, "file.npz.part", "file.npz.part.json")
    server.files["/a/file.npz"].cuts = []
    assert download(URL, target) == DIGEST
    assert ranges(server)[-1] == "bytes=300000-"


@pytest.mark.parametrize("headers", [{}, {"ETag": None, "Last-Modified": "yesterday"}])
def test_file_that_changed_between_two_parts_is_begun_anew(server, tmp_path, headers):
    other = bytes(reversed(CONTENT))
    served = server.files["/a/file.npz"]
    served.headers = headers
    served.cuts = [300_000, 0, 0, 0, 0]
    with pytest.raises(RunFailed):
        download(URL, tmp_path / "file.npz")
    again = {name: value and "today" for name, value in headers.items()}
    server.files["/a/file.npz"] = Served(other, headers=again)
    assert download(URL, tmp_path / "file.npz") == hashlib.sha256(other).hexdigest()
    assert ranges(server)[-1] == "bytes=300000-"
    assert (tmp_path / "file.npz").read_bytes() == other


def test_part_of_another_address_is_not_gone_on_with(server, tmp_path):
    server.files["/a/file.npz"].cuts = [300_000, 0, 0, 0, 0]
    with pytest.raises(RunFailed):
        download(URL, tmp_path / "file.npz")
    server.files["/b/file.npz"] = Served(CONTENT)
    server.requests.clear()
    download("https://weights.example/b/file.npz", tmp_path / "file.npz")
    assert ranges(server) == [None]


@pytest.mark.parametrize("headers", [{"ETag": 'W/"1"'}, {"ETag": None}])
def test_without_a_strong_validator_nothing_is_gone_on_with(server, tmp_path, headers):
    server.files["/a/file.npz"].headers = headers
    server.files["/a/file.npz"].cuts = [300_000]
    assert download(URL, tmp_path / "file.npz") == DIGEST
    assert ranges(server) == [None, None]


def test_server_without_ranges_is_not_asked_for_ever(server, tmp_path):
    served = server.files["/a/file.npz"]
    served.ranges = False
    served.cuts = [300_000] * 100
    with pytest.raises(RunFailed):
        download(URL, tmp_path / "file.npz")
    assert len(server.requests) == 4
    served.cuts = []
    assert download(URL, tmp_path / "file.npz") == DIGEST


def test_whole_part_needs_no_request_and_too_long_a_one_is_thrown_away(server, tmp_path):
    part = PartialFile(tmp_path / "file.npz", URL)
    part.begin('"tag"', len(CONTENT))
    part.path.write_bytes(CONTENT)
    assert download(URL, tmp_path / "file.npz") == DIGEST and not server.requests
    part = PartialFile(tmp_path / "other.npz", URL)
    part.begin('"tag"', len(CONTENT))
    part.path.write_bytes(CONTENT + b"!")
    assert download(URL, tmp_path / "other.npz") == DIGEST
    # What is longer than what the server now has, though its version seems to be the same.
    etag = f'"{DIGEST[:12]}"'
    part = PartialFile(tmp_path / "third.npz", URL)
    part.begin(etag, len(CONTENT) + 5)
    part.path.write_bytes(CONTENT + b"!")
    assert download(URL, tmp_path / "third.npz") == DIGEST


def test_wrong_hash_leaves_nothing(server, tmp_path):
    with pytest.raises(UserError, match=f"has the SHA-256 {DIGEST} and not {'0' * 64}"):
        download(URL, tmp_path / "file.npz", sha256="0" * 64)
    assert only(tmp_path)
    assert download(URL, tmp_path / "file.npz", sha256=DIGEST.upper()) == DIGEST
    assert read_record(tmp_path / "file.npz").given
    with pytest.raises(UserError, match="other bytes"):
        download(URL, tmp_path / "file.npz", sha256="0" * 64)


def test_page_instead_of_weights_leaves_nothing(server, tmp_path):
    server.files["/a/file.npz"] = Served(b"<!DOCTYPE html><html>Please sign in</html>")
    with pytest.raises(UserError, match=r"What https://weights.\S+ sent is a web page"):
        download(URL, tmp_path / "file.npz", kind="npz")
    assert only(tmp_path)


@pytest.mark.parametrize(
    "place", ["http://weights.example/x.npz", "file:///etc/passwd", "ftp://h/x", "//"]
)
def test_redirect_to_anything_but_https_is_refused(server, tmp_path, place):
    server.files["/a/file.npz"].redirect = place
    with pytest.raises(UserError, match="which is not https"):
        download(server.url("/a/file.npz"), tmp_path / "file.npz", sha256=DIGEST)
    assert only(tmp_path) and len(server.requests) == 1


def test_token_goes_to_its_host_and_to_no_other(server, tmp_path):
    server.files["/a/file.npz"].redirect = "/moved/file.npz"
    server.files["/moved/file.npz"] = Served(redirect="https://cdn.example/blob?signed=1")
    server.files["/blob"] = Served(CONTENT, cuts=[300_000])
    assert download(URL, tmp_path / "file.npz", token="secret") == DIGEST
    sent = [(h["Host"], h.get("Authorization"), h.get("Range")) for _, h in server.requests]
    hop = [("weights.example", "Bearer secret"), ("weights.example", "Bearer secret")]
    hop.append(("cdn.example", None))
    assert sent == [(*pair, None) for pair in hop] + [(*pair, "bytes=300000-") for pair in hop]
    assert "secret" not in record_path(tmp_path / "file.npz").read_text()


@pytest.mark.parametrize(
    "url, reason",
    [
        ("http://weights.example/x.npz", "not encrypted"),
        ("https://user:password@weights.example/x.npz", "user name or a password"),
        ("https:///x.npz", "no address"),
        ("https://weights.example/a b.npz", "no address"),
        ("https://weights.example:port/x.npz", "no address"),
        ("ftp://weights.example/x.npz", "not encrypted"),
    ],
)
def test_addresses_that_are_refused(url, reason):
    with pytest.raises(UserError, match=reason) as error:
        check_url(url, hash_known=False)
    assert "password@" not in str(error.value)


def test_http_needs_the_hash_and_takes_no_token(server, tmp_path):
    url = server.url("/a/file.npz")
    with pytest.raises(UserError, match="append #sha256="):
        download(url, tmp_path / "file.npz")
    with pytest.raises(UserError, match="not encrypted"):
        download(url, tmp_path / "file.npz", sha256=DIGEST, token="secret")
    assert not server.requests
    assert download(url, tmp_path / "file.npz", sha256=DIGEST) == DIGEST


def test_refusals_are_final_and_busy_servers_asked_again(server, tmp_path):
    with pytest.raises(UserError, match="HTTP 404"):
        download("https://weights.example/none.npz", tmp_path / "file.npz")
    assert len(server.requests) == 1 and only(tmp_path)
    server.files["/a/file.npz"].statuses = [503, 429, 500]
    assert download(URL, tmp_path / "file.npz") == DIGEST
    server.stop()
    with pytest.raises(RunFailed, match=r"refused.*put it at .*other\.npz"):
        download(URL, tmp_path / "other.npz")
    assert only(tmp_path, "file.npz", "file.npz.sha256")


def test_length_that_nobody_knows(server, tmp_path):
    served = server.files["/a/file.npz"]
    served.headers = {"Content-Length": None}
    with pytest.raises(UserError, match="does not say how long"):
        download(URL, tmp_path / "file.npz")
    assert download(URL, tmp_path / "file.npz", sha256=DIGEST) == DIGEST
    served.headers, served.chunked, served.cuts = {}, True, [500_000]
    assert download(URL, tmp_path / "chunked.npz") == DIGEST
    assert len(server.requests) == 4


def test_compressed_and_misplaced_answers_are_refused(server, tmp_path):
    served = server.files["/a/file.npz"]
    served.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(UserError, match="sent compressed"):
        download(URL, tmp_path / "file.npz")
    # A range that begins elsewhere would make a file of two pieces that do not meet.
    served.headers = {"Content-Range": f"bytes 5-9/{len(CONTENT)}"}
    served.cuts = [300_000]
    server.requests.clear()
    assert download(URL, tmp_path / "file.npz") == DIGEST
    assert ranges(server) == [None, "bytes=300000-", None]


def test_disk_that_is_too_small(server, tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(10**6, 10**6 - 10, 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(RunFailed, match=r"needs 0\.00 GB more"):
        download(URL, tmp_path / "file.npz")
    assert not (tmp_path / "file.npz").exists()


def test_two_at_a_time_download_once(server, tmp_path):
    served = server.files["/a/file.npz"]
    served.cuts = [300_000]
    results = []

    def run():
        results.append(download(URL, tmp_path / "file.npz"))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [DIGEST] * 4 and ranges(server) == [None, "bytes=300000-"]
    assert only(tmp_path, "file.npz", "file.npz.sha256")


def test_addresses_are_shown_without_what_may_be_secret():
    assert shown("https://u:p@host/a/b.npz?Signature=x#y") == "https://host/a/b.npz"
