"""Searches all places where a planted token could leak."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

NOBODY = 65534


def command_lines() -> bytes:
    """The command lines of all processes, which any user can read."""
    found = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes()
        except OSError:
            continue
    return found


class Watch:
    """Polls the command lines of all processes until the block ends. `seen`: those found."""

    def __init__(self) -> None:
        self.seen = b""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.2):
            self.seen += command_lines()


def files_with(token: str, folder: Path) -> list[Path]:
    """The files below a folder that contain the token."""
    return [path for path in folder.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]


def allowed_as(user: int, act: Callable[[], object]) -> bool:
    """Whether a process of another user can do something; False without permission. Any other error fails the test.

    Forking with idle threads of other tests is safe here: the child only makes system calls and exits.
    """
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            act()
            os._exit(0)
        except PermissionError:
            os._exit(13)
        except BaseException:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 13)
    return code == 0


def can_read_as(user: int, path: Path) -> bool:
    """Whether a process of another user can read a file; it must not be empty."""

    def read() -> None:
        assert path.read_bytes()

    return allowed_as(user, read)
