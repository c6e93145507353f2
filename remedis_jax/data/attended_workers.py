"""grain's worker processes, attended: one that was killed is told from one that is slow.

A process that is killed while it holds the lock of a queue leaves everybody waiting for that lock,
grain included, in reading and in closing. So grain is read and closed in threads of their own, and
the wait for them ends when a process is found dead.
"""

import multiprocessing
import queue
import threading
from typing import Any

# ours: far longer than grain takes to notice by itself, where it can.
_PATIENCE = 15.0


class AttendedWorkers:
    """Iterates over a grain iterator that has worker processes.

    Args:
        iterator: grain's; it is read and closed through this object alone.
    """

    def __init__(self, iterator: Any):
        self._iterator = iterator
        self._asked: queue.Queue[bool] = queue.Queue()
        self._given: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()
        self._processes: list[multiprocessing.process.BaseProcess] = []
        # A daemon: one that waits for ever must not keep the interpreter from ending.
        threading.Thread(
            target=_read, args=(iterator, self._asked, self._given), daemon=True
        ).start()

    def __next__(self) -> Any:
        self._asked.put(True)
        while True:
            try:
                value, error = self._given.get(timeout=_PATIENCE)
                break
            except queue.Empty:
                dead = [p.exitcode for p in self._processes if p.exitcode not in (None, 0)]
                if dead:
                    raise RuntimeError(
                        f"Worker process was terminated unexpectedly with exit code {dead[0]}"
                    ) from None
        if error is not None:
            raise error
        # grain starts them at the first batch.
        self._processes = self._processes or multiprocessing.active_children()
        return value

    def close(self) -> None:
        """Ends the worker processes; those that a dead one keeps from ending are left behind."""
        self._asked.put(False)
        closer = threading.Thread(target=self._iterator.close, daemon=True)
        closer.start()
        closer.join(_PATIENCE)
        if closer.is_alive():
            for process in self._processes:
                if process.is_alive():
                    process.kill()


def _read(iterator: Any, asked: queue.Queue, given: queue.Queue) -> None:
    while asked.get():
        try:
            given.put((next(iterator), None))
        except BaseException as error:  # It is raised where the batch is asked for.
            given.put((None, error))
