"""Which process was started on a run folder: known before it holds the lock, and by more than a pid."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from engine.runs.folder import RunFolder
from engine.runs.machine import boot_id


def note(folder: RunFolder, pid: int) -> None:
    """Write down that this process was started as the run's engine. Never raises: it is a help, no more."""
    with suppress(OSError):
        folder.launched.write_text(f"{pid} {_began(pid)} {boot_id()}\n", "ascii")


def is_gone(folder: RunFolder) -> bool:
    """Whether the process that was written down last is there no more. Where none was written down: whether one
    took the lock already. Call it for a folder whose lock nobody holds."""
    try:
        words = folder.launched.read_text("ascii").split(" ")
        pid, began, boot = int(words[0]), words[1], words[2].strip()
    except (OSError, ValueError, IndexError):
        return folder.lock.exists()
    return boot != boot_id() or not began or _began(pid) != began


def _began(pid: int) -> str:
    """When a process began, in ticks since the boot; empty when it is gone, or only its name is left."""
    with suppress(OSError, IndexError):
        words = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return "" if words[0] in "ZX" else words[19]
    return ""
