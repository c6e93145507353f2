"""What a result was computed on: processor, memory, accelerators; never which machine, or whose."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")


def hardware() -> dict[str, Any]:
    """The machine in words and numbers, without a name of it or of its user.

    Returns:
        platform ('Linux x86_64'), processor (model), processors (that this process may use, at
        least 1), memory_gib (of the whole machine; None where the system does not say),
        accelerators [{kind, count, memory_gib or None}] as JAX sees them ([] on a CPU).
    """
    import jax

    found: dict[str, list[float | None]] = {}
    for device in jax.local_devices():
        if device.platform != "cpu":
            found.setdefault(device.device_kind, []).append(_device_memory(device))
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:  # Not Linux.
        processors = os.cpu_count() or 1
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": processors,
        "memory_gib": _memory(),
        "accelerators": [
            {"kind": kind, "count": len(memory), "memory_gib": memory[0]}
            for kind, memory in found.items()
        ],
    }


def hardware_text(record: dict[str, Any]) -> str:
    """'2 processors (AMD EPYC), 8 GiB of memory, 1 × NVIDIA H100 of 79 GiB, Linux x86_64'.

    Args:
        record: From `hardware`; may lack keys.
    """
    parts = []
    if record.get("processors"):
        plural = "" if record["processors"] == 1 else "s"
        model = f" ({record['processor']})" if record.get("processor") else ""
        parts.append(f"{record['processors']} processor{plural}{model}")
    if record.get("memory_gib"):
        parts.append(f"{record['memory_gib']:g} GiB of memory")
    for entry in record.get("accelerators", ()):
        memory = f" of {entry['memory_gib']:g} GiB" if entry.get("memory_gib") else ""
        parts.append(f"{entry['count']} × {entry['kind']}{memory}")
    if "accelerators" in record and not record["accelerators"]:
        parts.append("no accelerator")
    if record.get("platform"):
        parts.append(record["platform"])
    return ", ".join(parts)


def _processor() -> str:
    """The processor's model as the system names it; its architecture where it does not."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    except OSError:
        pass  # Not Linux.
    if platform.system() == "Darwin":
        asked = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True
        )
        if asked.returncode == 0:
            return asked.stdout.strip()
    return platform.processor() or platform.machine()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):  # Not POSIX.
        return None


def _device_memory(device: Any) -> float | None:
    """What JAX may use of an accelerator's memory; None where its backend does not say."""
    stats = device.memory_stats() or {}
    limit = stats.get("bytes_limit")
    return None if limit is None else round(limit / 2**30, 1)
