"""The machine's boot id, and how many processes its kernel has killed for lack of memory."""

from contextlib import suppress
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The container's own count where there is one: the machine's count includes all its containers.
_KILLS = (
    Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"), Path("/proc/vmstat"),
)  # fmt: skip


def boot_id() -> str:
    """Changes with each boot of the machine; empty where it cannot be read."""
    with suppress(OSError):
        return _BOOT_ID.read_text("ascii").strip()
    return ""


def memory_kills() -> int:
    """How many processes the kernel has killed for lack of memory since the container or the machine started."""
    for path in _KILLS:
        with suppress(OSError, ValueError):
            for line in path.read_text("ascii").splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0
