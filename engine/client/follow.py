"""Follows the events and the log of an engine while it writes them. Poll it from an event loop."""

import os
import stat
from pathlib import Path

from engine.config.files import open_file
from engine.protocol.events import AnyEvent, decode
from engine.runs.folder import RunFolder

EVENT_BYTES = 1 << 20  # per poll: some 5,000 steps, decoded in about 10 ms
LOG_BYTES = 256 << 10
LOG_TAIL_BYTES = 64 << 10  # how much of an existing log is shown


class _Tail:
    """The bytes appended to a file since the last read. A truncated or replaced file is read from its start."""

    def __init__(self, path: Path, skip_to_last: int | None = None) -> None:
        self.path = path
        self.skip_to_last = skip_to_last
        self.offset = self.size = self.inode = 0

    def read(self, limit: int) -> tuple[bytes, bool]:
        """(at most `limit` new bytes, whether they are from a new file)."""
        try:
            status = os.lstat(self.path)
        except OSError:
            return b"", False  # does not exist yet, or cannot be read at the moment
        if not stat.S_ISREG(status.st_mode):
            return b"", False  # a pipe may never end
        is_new = status.st_ino != self.inode or status.st_size < self.offset
        if is_new:
            self.inode, self.offset = status.st_ino, 0
            if self.skip_to_last is not None:
                self.offset = max(0, status.st_size - self.skip_to_last)
        self.size = status.st_size
        if self.offset >= self.size:
            return b"", is_new
        try:
            with os.fdopen(open_file(self.path), "rb") as file:
                file.seek(self.offset)
                data = file.read(limit)
        except OSError:
            return b"", is_new
        self.offset += len(data)
        return data, is_new


class Follower:
    """The events of a run, from the first. Never raises for missing or malformed content."""

    def __init__(self, folder: RunFolder) -> None:
        self._tail = _Tail(folder.events)
        self._torn = b""  # the start of an incomplete line

    @property
    def has_more(self) -> bool:
        """Whether the last poll left something unread: poll again without waiting."""
        return self._tail.offset < self._tail.size

    def poll(self, max_bytes: int = EVENT_BYTES) -> list[AnyEvent]:
        """The events completed since the last poll, from at most `max_bytes` of the file.

        Lines that this version does not understand are skipped.
        """
        data, is_new = self._tail.read(max_bytes)
        *lines, self._torn = ((b"" if is_new else self._torn) + data).split(b"\n")
        return [event for line in lines if line.strip() and (event := decode(line))]


class LogFollower:
    """The lines of `engine.log`, starting 64 KB before its end. A progress bar that redraws its line is one line.

    The text is as the libraries wrote it, with escape sequences: sanitise it before showing it.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._tail = _Tail(folder.log, skip_to_last=LOG_TAIL_BYTES)
        self._torn = b""
        self._cut = False  # whether reading began inside a line, whose rest is skipped

    @property
    def has_more(self) -> bool:
        """Whether the last poll left something unread: poll again without waiting."""
        return self._tail.offset < self._tail.size

    @property
    def partial(self) -> str:
        """The line being written, such as a running progress bar; empty when there is none."""
        return "" if self._cut else _last_state(self._torn)

    def poll(self, max_bytes: int = LOG_BYTES) -> list[str]:
        """The lines completed since the last poll, from at most `max_bytes` of the file."""
        data, is_new = self._tail.read(max_bytes)
        if is_new:
            self._torn, self._cut = b"", self._tail.offset > len(data)
        *lines, torn = (self._torn + data).split(b"\n")
        if lines and self._cut:
            del lines[0]
            self._cut = False
        # A progress bar redraws its line thousands of times: keep only its last state.
        self._torn = torn if torn.count(b"\r") < 2 else b"\r".join(torn.rsplit(b"\r", 2)[1:])
        return [_last_state(line) for line in lines]


def _last_state(line: bytes) -> str:
    """What a terminal would show of a line after its carriage returns: the last text drawn over the others."""
    drawn = [part for part in line.split(b"\r") if part.strip()]
    return drawn[-1].decode("utf-8", "replace") if drawn else ""
