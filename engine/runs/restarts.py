"""Finds the few lines in the middle of a long events.jsonl that the list of runs needs.

Where engines were restarted, to add up a run's time; and what is not delivered, which later engines do not repeat.

The files only grow, so each is read once, in chunks: mapping a 240 MB file would count as 240 MB of our memory, and
the list of runs reads all of them every few seconds.
"""

import os
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

ENGINE_STARTED = b'\n{"type":"EngineStarted"'
UNDELIVERED = b'\n{"type":"Undelivered"'
CHUNK_BYTES = 1 << 20
LINE_BYTES = 32 << 10  # these lines are shorter
MAX_FILES = 4096


@dataclass
class _Scan:
    """How far a file was read, and the lines found in it."""

    inode: int
    start: int
    offset: int
    lines: list[bytes] = field(default_factory=list)


_files: dict[str, _Scan] = {}


def find_lines(path: Path, file: BufferedReader, start: int, end: int) -> list[bytes]:
    """Between these offsets, in order: each `Undelivered`, each engine's first line, and the line before that."""
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
    """The lines that begin between these offsets."""
    found = []
    for mark in (ENGINE_STARTED, UNDELIVERED):
        at = data.find(mark, start)
        while 0 <= at < end:
            if mark is ENGINE_STARTED:
                found.append((at, data[data.rfind(b"\n", 0, at) + 1 : at]))
            found.append((at + 1, data[at + 1 : data.find(b"\n", at + 1)]))
            at = data.find(mark, at + 1)
    return [line for _at, line in sorted(found)]
