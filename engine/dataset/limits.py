"""Limits on what is read of foreign data, per row and per look before training. What exceeds them is reported."""

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO

from engine.messages.errors import UserError
from engine.messages.message import Message, say

ROW_BYTES = 16 << 20  # of one row
ROW_VALUES = 1_000_000  # in one row; each is an object in memory
ROW_DEPTH = 100  # of lists and objects in one another
BAD_ROWS = 10_000  # one after the other: then the file is of another kind
LOOK_BYTES = 32 << 20  # how far into a file its rows are checked before training, and counted one by one
LOOK_SECONDS = 10.0
FOLDER_ENTRIES = 100_000  # looked at in a folder and those below


class DataError(UserError):
    """A data file that cannot be used. The caller catches it to name the setting to blame."""

    def __init__(self, message: Message, code: str = "dataset_broken") -> None:
        super().__init__(code, message)


class LookEndedError(Exception):
    """A look has read as much as it may."""


def unreadable(error: OSError) -> Message:
    return say("This file cannot be read: {reason}.", reason=error.strerror or str(error))


def too_deep(row: int | None) -> Message:
    """The error for a row, or for a document of which no row can be read."""
    if row is None:
        return say("This file is nested deeper than {depth} levels.", depth=ROW_DEPTH)
    return say("Row {row} is nested deeper than {depth} levels.", row=row, depth=ROW_DEPTH)


def too_long(row: int) -> Message:
    return say("Row {row} is too long for one example: more than {size} MB.", row=row, size=ROW_BYTES >> 20)


def open_regular(path: Path) -> BinaryIO:
    """A file to read. Raises `DataError` for a pipe or a device, of which the end may never come, and `OSError`."""
    # Without O_NONBLOCK, opening a pipe waits for somebody to write.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise DataError(say("This is not a file but a device, a pipe or a folder."))
    return file


def nested_deeper(value: Any, depth: int = ROW_DEPTH) -> bool:
    """Whether lists and objects are nested deeper than this."""
    if not isinstance(value, (list, dict)):
        return False
    if not depth:
        return True
    return any(nested_deeper(part, depth - 1) for part in (value.values() if isinstance(value, dict) else value))


@dataclass
class FolderSearch:
    """Finds regular files, without following links to folders. What vanishes or is forbidden is passed over.

    Raises `DataError` beyond `FOLDER_ENTRIES` or `LOOK_SECONDS`.
    """

    seen: int = 0
    started: float = field(default_factory=time.monotonic)

    def entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """The visible entries of a folder, by name; empty if it cannot be read."""
        found: list[os.DirEntry[str]] = []
        try:
            with os.scandir(folder) as scan:
                for entry in scan:
                    self.seen += 1
                    if self.seen > FOLDER_ENTRIES or time.monotonic() - self.started > LOOK_SECONDS:
                        raise DataError(
                            say("There are too many files here to search: name the folder with the data.")
                        )
                    if not entry.name.startswith("."):
                        found.append(entry)
        except OSError:
            return []
        return sorted(found, key=lambda entry: entry.name)

    def below(self, folder: Path) -> Iterator[Path]:
        """The files in a folder and those below."""
        folders = []
        for entry in self.entries(folder):
            if is_file(entry):
                yield Path(entry.path)
            elif is_folder(entry):
                folders.append(Path(entry.path))
        for one in folders:
            yield from self.below(one)

    def matching(self, pattern: str) -> Iterator[Path]:
        """The files that match an absolute pattern, as `glob` reads it; ** stands for any folders."""
        start, *parts = Path(pattern).parts
        yield from self._expand(Path(start), parts)

    def _expand(self, at: Path, parts: list[str]) -> Iterator[Path]:
        if not parts:
            if at.is_file():
                yield at
            return
        head, *rest = parts
        if head == "**":
            yield from self._expand(at, rest)
            for entry in self.entries(at):
                if is_folder(entry):
                    yield from self._expand(Path(entry.path), parts)
                elif not rest and is_file(entry):
                    yield Path(entry.path)
        elif any(sign in head for sign in "*?["):
            for entry in self.entries(at):
                if fnmatch(entry.name, head):
                    yield from self._expand(Path(entry.path), rest)
        elif (at / head).exists():
            yield from self._expand(at / head, rest)


def is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
