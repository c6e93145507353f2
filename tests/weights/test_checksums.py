"""The record beside a file of weights: damage is found, and what is unchanged is not read again."""

import hashlib
import os

import numpy as np
import pytest

from remedis_jax.errors import UserError
from remedis_jax.weights.registry.checksums import (
    check_file,
    read_record,
    record_path,
    write_record,
)

CONTENT = np.random.default_rng(0).bytes(100_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
URL = "https://weights.example/a/file.npz"


def test_damage_is_found_at_the_next_use(tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(CONTENT)
    assert check_file(path) is None
    assert check_file(path, DIGEST) == DIGEST
    write_record(path, DIGEST)
    damaged = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    before = path.stat()
    path.write_bytes(damaged)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(UserError, match="is recorded beside it.*damaged or replaced"):
        check_file(path)
    # Same size, same time of change: only reading it finds that.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert check_file(path) == DIGEST
    with pytest.raises(UserError, match="damaged or replaced"):
        check_file(path, whole=True)


def test_copied_file_is_read_once_more_and_no_oftener(tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(CONTENT)
    write_record(path, DIGEST, source=URL, given=False)
    os.utime(path, ns=(1, 1))
    assert check_file(path) == DIGEST
    record = read_record(path)
    assert (record.modified, record.source, record.given) == (1, URL, False)


def test_records_of_others_are_read_and_left_alone(tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(CONTENT)
    for text in (f"{DIGEST}  file.npz\n", f"{DIGEST.upper()} *file.npz", DIGEST):
        record_path(path).write_text(text)
        assert check_file(path) == DIGEST
        assert record_path(path).read_text() == text
    record_path(path).write_text(f"{'0' * 64}  file.npz\n")
    with pytest.raises(UserError, match="damaged or replaced"):
        check_file(path)
    for text in ("", "hello", f"{DIGEST}  a\n{DIGEST}  b\n", "# remedis_jax {\n" + DIGEST):
        record_path(path).write_text(text)
        with pytest.raises(UserError, match=r"file\.npz\.sha256"):
            check_file(path)
