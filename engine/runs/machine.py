"""What tells one life of a machine from the next, and how often its kernel ended a process for lack of memory."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The container's own count where there is one; a machine's counts what happened in all its containers.
_KILLS = (
    Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"), Path("/proc/vmstat"),
)  # fmt: skip


def boot_id() -> str:
    """Another one after each start of the machine; empty where there is none to read."""
    with suppress(OSError):
        return _BOOT_ID.read_text("ascii").strip()
    return ""


def memory_kills() -> int:
    """How many processes the kernel has ended for lack of memory since the container or the machine started."""
    for path in _KILLS:
        with suppress(OSError, ValueError):
            for line in path.read_text("ascii").splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0
