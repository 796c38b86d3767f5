"""Which process holds a run's lock, by the kernel's list of locks: a recorded pid may have been reused."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.runs import manifest
from engine.runs.folder import RunFolder

TERMINATE_SECONDS = 10.0  # to save a checkpoint, after the softer requests have timed out


def lock_owner(folder: RunFolder) -> int | None:
    """The pid of the engine on this folder; None when there is none, or it belongs to another user."""
    try:
        wanted = folder.lock.lstat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()
        # "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF"; waiting ones have an arrow, `is_alive` takes READ locks
        if len(words) > 5 and words[1:4] == ["FLOCK", "ADVISORY", "WRITE"]:
            inode = words[5].rpartition(":")[2]
            pid = int(words[4])
            if inode == str(wanted) and pid > 0 and _has_open(pid, folder.lock):
                return pid
    return None


def _has_open(pid: int, path: Path) -> bool:
    """Whether the process has this very file open: inode numbers repeat on other file systems."""
    real = os.path.realpath(path)
    with suppress(OSError):
        return any(os.path.realpath(f"/proc/{pid}/fd/{number}") == real for number in os.listdir(f"/proc/{pid}/fd"))
    return False


def is_frozen(folder: RunFolder) -> bool:
    """Whether the engine is stopped by a signal, as by kill -STOP or a debugger."""
    pid = lock_owner(folder)
    if pid is None:
        return False
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    return False


@dataclass(frozen=True)
class SavedWork:
    """What is complete on disk once an engine has exited. `checkpoint`: the newest one's step, None without one.
    `adapter`: whether the result is, an adapter or a whole model."""

    checkpoint: int | None
    adapter: bool


def saved_work(folder: RunFolder) -> SavedWork:
    """Check every byte of the newest checkpoint and of the result."""
    kept = manifest.newest_checkpoint(folder.checkpoints)
    complete = folder.result.is_dir() and not manifest.find_fault(folder.result)
    return SavedWork(kept.step if kept else None, complete)


def terminate(folder: RunFolder, timeout: float = TERMINATE_SECONDS) -> SavedWork:
    """End a hung engine: SIGTERM, and after `timeout` seconds SIGKILL. Returns what is saved. Blocks."""
    for number, seconds in ((signal.SIGTERM, timeout), (signal.SIGKILL, 5.0)):
        pid = lock_owner(folder)
        if pid is None:
            break
        frozen = is_frozen(folder)
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            if frozen and number == signal.SIGTERM:
                os.kill(pid, signal.SIGCONT)  # a stopped process does not handle SIGTERM
        deadline = time.monotonic() + seconds
        while lock_owner(folder) == pid and time.monotonic() < deadline:
            time.sleep(0.05)
    return saved_work(folder)
