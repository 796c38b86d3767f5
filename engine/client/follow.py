"""Reads what an engine writes while it writes: events, and the log. Made to be polled from an event loop."""

from __future__ import annotations

import os
from pathlib import Path

from engine.protocol.events import AnyEvent, decode
from engine.runs.folder import RunFolder

EVENT_BYTES = 1 << 20  # per poll: some 5,000 steps, decoded in about 10 ms
LOG_BYTES = 256 << 10
LOG_TAIL_BYTES = 64 << 10  # how much of an older log is worth showing


class _Tail:
    """The bytes appended to a file since the last read. A file cut short or replaced is read anew."""

    def __init__(self, path: Path, skip_to_last: int | None = None) -> None:
        self.path = path
        self.skip_to_last = skip_to_last
        self.offset = self.size = self.inode = 0

    def read(self, limit: int) -> tuple[bytes, bool]:
        """(at most `limit` new bytes, whether they start anew rather than go on from the last ones)."""
        try:
            status = os.stat(self.path)
        except OSError:
            return b"", False  # not there yet, or out of reach for the moment
        anew = status.st_ino != self.inode or status.st_size < self.offset
        if anew:
            self.inode, self.offset = status.st_ino, 0
            if self.skip_to_last is not None:
                self.offset = max(0, status.st_size - self.skip_to_last)
        self.size = status.st_size
        if self.offset >= self.size:
            return b"", anew
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(limit)
        except OSError:
            return b"", anew
        self.offset += len(data)
        return data, anew


class Follower:
    """The events of a run, from the first on. Never raises for what the file holds or lacks."""

    def __init__(self, folder: RunFolder) -> None:
        self._tail = _Tail(folder.events)
        self._torn = b""  # the start of a line whose end is still to be written

    @property
    def behind(self) -> bool:
        """Whether the last poll left something unread: poll again without waiting."""
        return self._tail.offset < self._tail.size

    def poll(self, max_bytes: int = EVENT_BYTES) -> list[AnyEvent]:
        """The events completed since the last poll, from at most `max_bytes` of the file.

        Lines that this version does not understand are left out.
        """
        data, anew = self._tail.read(max_bytes)
        *lines, self._torn = ((b"" if anew else self._torn) + data).split(b"\n")
        return [event for line in lines if line.strip() and (event := decode(line))]


class LogFollower:
    """The lines of `engine.log`, from the last 64 KB on. A progress bar that redraws its line counts as one.

    The text is as the libraries wrote it, escape sequences and all: sanitise it before showing it.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._tail = _Tail(folder.log, skip_to_last=LOG_TAIL_BYTES)
        self._torn = b""
        self._cut = False  # whether reading began inside a line, whose rest is of no use

    @property
    def behind(self) -> bool:
        """Whether the last poll left something unread: poll again without waiting."""
        return self._tail.offset < self._tail.size

    @property
    def partial(self) -> str:
        """The line being written, such as a progress bar in motion; empty when there is none."""
        return "" if self._cut else _last_state(self._torn)

    def poll(self, max_bytes: int = LOG_BYTES) -> list[str]:
        """The lines completed since the last poll, from at most `max_bytes` of the file."""
        data, anew = self._tail.read(max_bytes)
        if anew:
            self._torn, self._cut = b"", self._tail.offset > len(data)
        *lines, torn = (self._torn + data).split(b"\n")
        if lines and self._cut:
            del lines[0]
            self._cut = False
        # A bar redraws its line thousands of times before it ends it: only its last state is kept.
        self._torn = torn if torn.count(b"\r") < 2 else b"\r".join(torn.rsplit(b"\r", 2)[1:])
        return [_last_state(line) for line in lines]


def _last_state(line: bytes) -> str:
    """What a terminal would show of a line after its carriage returns: the last text drawn over the others."""
    drawn = [part for part in line.split(b"\r") if part.strip()]
    return drawn[-1].decode("utf-8", "replace") if drawn else ""
