"""Finds where engines were restarted in the middle of a long events.jsonl: needed to add up a run's time.

The files only grow, so each is read once, in chunks: mapping a 240 MB file would count as 240 MB of our memory, and
the list of runs reads all of them every few seconds.
"""

import os
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

ENGINE_STARTED = b'\n{"type":"EngineStarted"'
CHUNK_BYTES = 1 << 20
LINE_BYTES = 32 << 10  # the lines around a restart are shorter
MAX_FILES = 4096


@dataclass
class _Scan:
    """How far a file was read, and the lines found in it."""

    inode: int
    start: int
    offset: int
    lines: list[bytes] = field(default_factory=list)


_files: dict[str, _Scan] = {}


def find_restarts(path: Path, file: BufferedReader, start: int, end: int) -> list[bytes]:
    """For each engine start between these offsets: the last line before it, and the new engine's first line."""
    inode = os.fstat(file.fileno()).st_ino
    known = _files.get(str(path))
    if known is None or known.inode != inode or known.start != start or known.offset > end:
        if len(_files) >= MAX_FILES:
            _files.clear()
        known = _files[str(path)] = _Scan(inode, start, start)
    while known.offset < end:
        # With a line's length on both sides: a line across the border of two chunks is complete in one of them.
        first, beyond = max(0, known.offset - LINE_BYTES), min(known.offset + CHUNK_BYTES, end)
        file.seek(first)
        data = file.read(beyond - first + LINE_BYTES)
        known.lines += _find_in_chunk(data, known.offset - first, beyond - first)
        known.offset = beyond
    return list(known.lines)


def _find_in_chunk(data: bytes, start: int, end: int) -> list[bytes]:
    """The lines around each engine start between these offsets."""
    lines = []
    at = data.find(ENGINE_STARTED, start)
    while 0 <= at < end:
        before = data.rfind(b"\n", 0, at) + 1
        lines += [data[before:at], data[at + 1 : data.find(b"\n", at + 1)]]
        at = data.find(ENGINE_STARTED, at + 1)
    return lines
