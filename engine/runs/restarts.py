"""Finds, in the middle of a long file of events, where one engine followed another: needed to count a run's time.

Files only grow, so each is read once, in pieces: mapped into memory, a file of 240 MB counts as 240 MB of ours, and
the list of runs looks at all of them every few seconds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

FIRST_WORD = b'\n{"type":"EngineStarted"'
PIECE_BYTES = 1 << 20
LINE_BYTES = 32 << 10  # a line at such a place is shorter
MOST_FILES = 4096


@dataclass
class _Read:
    """How far a file was read, and the lines found in it."""

    inode: int
    start: int
    offset: int
    lines: list[bytes] = field(default_factory=list)


_files: dict[str, _Read] = {}


def find_restarts(path: Path, file: BufferedReader, start: int, end: int) -> list[bytes]:
    """Between these offsets: of each new engine its first line, and before it the last line of the one before."""
    inode = os.fstat(file.fileno()).st_ino
    known = _files.get(str(path))
    if known is None or known.inode != inode or known.start != start or known.offset > end:
        if len(_files) >= MOST_FILES:
            _files.clear()
        known = _files[str(path)] = _Read(inode, start, start)
    while known.offset < end:
        # With a line's length on both sides: what lies over the seam of two pieces is whole in one of them.
        first, beyond = max(0, known.offset - LINE_BYTES), min(known.offset + PIECE_BYTES, end)
        file.seek(first)
        data = file.read(beyond - first + LINE_BYTES)
        known.lines += _found(data, known.offset - first, beyond - first)
        known.offset = beyond
    return list(known.lines)


def _found(data: bytes, start: int, end: int) -> list[bytes]:
    """The lines around each new engine that begins between these offsets."""
    lines = []
    at = data.find(FIRST_WORD, start)
    while 0 <= at < end:
        before = data.rfind(b"\n", 0, at) + 1
        lines += [data[before:at], data[at + 1 : data.find(b"\n", at + 1)]]
        at = data.find(FIRST_WORD, at + 1)
    return lines
