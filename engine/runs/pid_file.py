"""The process that was started on a run folder, before it holds the lock: pid, start time and boot id."""

from contextlib import suppress
from pathlib import Path

from engine.config.files import read_text, write_text
from engine.runs.folder import RunFolder
from engine.runs.machine import boot_id


def write_pid(folder: RunFolder, pid: int) -> None:
    """Record that this process was started as the run's engine. Never raises: the file is optional."""
    with suppress(OSError):
        write_text(folder.pid_file, f"{pid} {_start_time(pid)} {boot_id()}\n")


def is_gone(folder: RunFolder) -> bool:
    """Whether the recorded process has exited. Without a record: whether an engine has already held the lock.
    Call it only for a folder whose lock is free."""
    try:
        fields = read_text(folder.pid_file).split(" ")
        pid, started, boot = int(fields[0]), fields[1], fields[2].strip()
    except (ValueError, IndexError):
        return folder.lock.exists()
    return boot != boot_id() or not started or _start_time(pid) != started


def _start_time(pid: int) -> str:
    """When a process started, in clock ticks since the boot; empty when it has exited or is a zombie."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""
