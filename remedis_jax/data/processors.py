"""How many processors this process may use."""

import os
from pathlib import Path

# Version 2 of Linux's control groups, as containers have them.
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_processors() -> int:
    """Processors that the scheduler gives to this process, at least 1.

    Fewer than `os.cpu_count()` where the process is bound to some of them, as SLURM does, or where
    a container has a quota: twice as many threads as processors take turns instead of working.
    """
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # Not Linux.
        count = os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
    except OSError:  # Not Linux, or an older version.
        return count
    if quota == "max":
        return count
    return max(1, min(count, round(int(quota) / int(period))))
