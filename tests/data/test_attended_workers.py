"""A killed worker that leaves everybody waiting is noticed."""

import subprocess
import sys
import threading
import time

import pytest

from remedis_jax.data import attended_workers
from remedis_jax.data.attended_workers import AttendedWorkers


class Stuck:
    """Gives one item, and then waits for a lock that nobody gives back, in closing as well."""

    def __init__(self):
        self.items, self.lock = iter((1,)), threading.Event()

    def __next__(self):
        try:
            return next(self.items)
        except StopIteration:
            self.lock.wait()

    def close(self):
        self.lock.wait()


class Process:
    """As `multiprocessing` shows one; killed after the first item."""

    exitcode = -9

    def is_alive(self):
        return False


def test_a_dead_worker_ends_the_wait(monkeypatch):
    monkeypatch.setattr(attended_workers, "_PATIENCE", 0.1)
    monkeypatch.setattr(attended_workers.multiprocessing, "active_children", lambda: [Process()])
    stuck = AttendedWorkers(Stuck())
    assert next(stuck) == 1
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="Worker process was terminated .* exit code -9"):
        next(stuck)
    stuck.close()
    assert time.monotonic() - start < 5


def test_what_the_iterator_raises_is_raised(monkeypatch):
    class Ends:
        def __next__(self):
            raise StopIteration

        def close(self):
            pass

    ends = AttendedWorkers(Ends())
    with pytest.raises(StopIteration):
        next(ends)
    ends.close()


def test_one_that_is_stuck_does_not_keep_the_interpreter():
    code = (
        "from tests.data.test_attended_workers import Stuck\n"
        "from remedis_jax.data.attended_workers import AttendedWorkers\n"
        "stuck = AttendedWorkers(Stuck())\n"
        "next(stuck); stuck._asked.put(True)\n"
        "print('left', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and done.stdout == "left\n", done.stderr
