"""Opens Loris's own files, and never what a link points to; keeps what is not Loris's.

A run folder from someone else may contain links: with one from `engine.log` to `~/.bashrc`, for instance, what is
logged would be run at the next login.
"""

import errno
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

ASIDE = ".before"  # appended to the name of what is kept when its name is needed
FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # the last: opening a FIFO must not wait
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
OVERWRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def open_file(path: Path, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """A handle on a regular file. Raises OSError, also for a link, a FIFO or a device."""
    try:
        handle = os.open(path, flags | FLAGS, mode)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, f"{path.name} is a link, which is not followed", str(path)) from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, f"{path.name} is not a file", str(path))
    return handle


def read_bytes(path: Path, limit: int = -1) -> bytes:
    """The content of a file, at most `limit` bytes of it. Raises OSError."""
    with os.fdopen(open_file(path), "rb") as file:
        return file.read(limit)


def read_text(path: Path, limit: int = 1 << 16) -> str:
    """The start of a small file; empty when there is none that can be read."""
    with suppress(OSError):
        return read_bytes(path, limit).decode("utf-8", "surrogateescape")
    return ""


def write_text(path: Path, text: str, flags: int = OVERWRITE, mode: int = 0o600) -> None:
    """Write a small file in place, or append to it. Raises OSError."""
    with os.fdopen(open_file(path, flags, mode), "wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def set_aside(path: Path) -> Path:
    """Rename what is not Loris's, because its name is needed; returns the new path. Raises OSError."""
    return path.rename(free_name(path))


def is_set_aside(path: Path) -> bool:
    """Whether the file's name is one of those that `set_aside` gives."""
    return re.search(rf"{re.escape(ASIDE)}(-\d+)?$", path.name) is not None


def free_name(path: Path) -> Path:
    """The path; if it is taken, the first of NAME.before, NAME.before-2 that is free."""
    number, free = 1, path
    while os.path.lexists(free):
        free = path.with_name(f"{path.name}{ASIDE}" + (f"-{number}" if number > 1 else ""))
        number += 1
    return free
