"""The rows of a data file, read a little at a time: what all kinds of files have in common."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from engine.config.fields import did_you_mean
from engine.config.local_paths import DATA_SUFFIXES
from engine.messages.errors import UserError
from engine.messages.message import Message, say

Row = dict[str, Any]
OnBad = Callable[[int, Message, str], None]

SNIFF_BYTES = 64 << 10
BROKEN = (gzip.BadGzipFile, EOFError)


class DataError(UserError):
    """A data file that cannot be used. Whoever asked for it knows the setting to blame: caught to name that."""

    def __init__(self, message: Message, code: str = "dataset_broken") -> None:
        super().__init__(code, message)


@dataclass(frozen=True)
class Remote:
    """A file elsewhere. `open`: its bytes, unpacked; `cut`: they end before the file, perhaps in mid-row."""

    open: Callable[[], BinaryIO]
    size: int
    cut: bool = False


class RowFile:
    """A data file. Iterate over `rows()` once; then `total` says how many there are.

    `whole`: read all of it, however large; else of one large JSON document only the head is looked at.
    `remote`: where the bytes come from, if not from `path` on this machine.
    `on_bad`: told of each row that cannot be read, as (row, why, the text), which is then left out; without
    it the first such row raises `DataError`.
    """

    _cut_unseen = False  # whether a row that is cut off looks like a whole one

    def __init__(self, path: Path, *, whole: bool = False, remote: Remote | None = None) -> None:
        """Raises `DataError` for what is no readable file at all."""
        self.path, self.whole, self.remote = path, whole, remote
        self.on_bad: OnBad | None = None
        self.seen = 0  # rows so far
        self.bytes_read = 0  # bytes of the file that these rows took, about
        self._unpacked = 0  # bytes that came of them, of a packed file
        self.ended = False  # whether every row was seen
        self._packed: BinaryIO | None = None
        try:
            if remote:
                self.size = remote.size
            else:
                with path.open("rb") as file:
                    self.size = os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            raise DataError(missing(path), "dataset_missing") from None
        except OSError as error:
            raise DataError(unreadable(error)) from None
        if not self.size:
            raise DataError(empty(), "dataset_empty")

    def open(self) -> BinaryIO:
        """The file's bytes as UTF-8, unpacked, without a byte order mark."""
        raw = self._open()
        start = raw.read(SNIFF_BYTES)
        encoding = encoding_of(start)
        raw.close()
        if not start.removeprefix(codecs.BOM_UTF8).strip():
            raise DataError(empty(), "dataset_empty")
        raw = self._open()
        if encoding != "utf-8":
            return io.BufferedReader(_AsUtf8(raw, encoding))
        if start.startswith(codecs.BOM_UTF8):
            raw.read(len(codecs.BOM_UTF8))
        return raw

    @property
    def cut(self) -> bool:
        """Whether only the start of the file is at hand."""
        return self.remote is not None and self.remote.cut

    def _open(self) -> BinaryIO:
        if self.remote:
            return self.remote.open()
        match self.path.suffix.lower():
            case ".gz":
                self._packed = self.path.open("rb")
                return io.BufferedReader(gzip.GzipFile(fileobj=self._packed))
            case ".zst":
                self._packed = self.path.open("rb")
                arrow: Any = import_module("pyarrow")  # it has the decoder; Python has one from 3.14 on
                return io.BufferedReader(arrow.CompressedInputStream(self._packed, "zstd"))
        return self.path.open("rb")

    def took(self, count: int) -> None:
        """So many more bytes were read, of a packed file after unpacking."""
        self.bytes_read = self._packed.tell() if self._packed else self.bytes_read + count
        self._unpacked += count

    @property
    def effort(self) -> int:
        """How many bytes were gone through, by which a look at a file is bounded."""
        return max(self.bytes_read, self._unpacked)

    @property
    def total(self) -> int:
        """The number of rows: exact once `ended`, else judged by the size of those seen."""
        if self.ended or not self.bytes_read:
            return self.seen
        return max(self.seen, round(self.seen * self.size / self.bytes_read))

    @property
    def knows_total(self) -> bool:
        return self.ended

    def values(self) -> Iterator[tuple[int | None, Any]]:
        """(line or None, value) of each row, whatever the value is. Sets `bytes_read` and `ended`."""
        raise NotImplementedError

    def rows(self) -> Iterator[Row]:
        """The rows in order, each the `seen`-th of the file; of a large JSON document only the first ones
        unless `whole`. Raises `DataError`."""
        values = self.values()
        if self.cut and self._cut_unseen:
            values = (one for one, _next in pairwise(values))  # without the last
        try:
            for line, value in values:
                self.seen += 1
                if isinstance(value, dict):
                    yield value
                elif self.on_bad:
                    self.on_bad(self.seen, self._not_an_object(line, value), str(value))
                else:
                    raise DataError(self._not_an_object(line, value))
        except BROKEN as error:
            raise DataError(say("This file cannot be unpacked: {reason}.", reason=str(error))) from None
        except UnicodeDecodeError:
            raise DataError(not_utf8()) from None
        except OSError as error:
            if self._packed and error.errno is None:  # said by the decoder, not by the system
                raise DataError(say("This file cannot be unpacked: {reason}.", reason=str(error))) from None
            raise DataError(unreadable(error)) from None
        if not self.seen:
            raise DataError(say("This file has no rows."), "dataset_empty")

    def bad(self, message: Message, text: str) -> None:
        """A row cannot be read. Raises `DataError` unless bad rows are to be left out."""
        if not self.on_bad:
            raise DataError(message)
        self.seen += 1
        self.on_bad(self.seen, message, text)

    def _not_an_object(self, line: int | None, value: Any) -> Message:
        shown = json.dumps(value, ensure_ascii=False)[:40]
        if line is not None:
            return say(
                "Line {line} is {value}: a row must be an object such as {example}.",
                line=line, value=shown, example='{"instruction": "...", "output": "..."}',
            )  # fmt: skip
        return say(
            "Row {row} is {value}: a row must be an object such as {example}.",
            row=self.seen, value=shown, example='{"instruction": "...", "output": "..."}',
        )  # fmt: skip


class _AsUtf8(io.RawIOBase):
    """A file in another encoding, as UTF-8 bytes."""

    def __init__(self, raw: BinaryIO, encoding: str) -> None:
        self._text = io.TextIOWrapper(raw, encoding, newline="")
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = self._text.read(len(buffer) or 1).encode("utf-8", "surrogatepass")
            self._left = self._left.removeprefix(codecs.BOM_UTF8)
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count

    def close(self) -> None:
        self._text.close()
        super().close()


def encoding_of(start: bytes) -> str:
    """The encoding of a text file by its first bytes: UTF-8, or UTF-16 with or without its mark."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    head = start[:200]
    if b"\0" in head:  # every second byte of ASCII in UTF-16
        return "utf-16-be" if head[:1] == b"\0" else "utf-16-le"
    return "utf-8"


def unreadable(error: OSError) -> Message:
    return say("This file cannot be read: {reason}.", reason=error.strerror or str(error))


def empty() -> Message:
    return say("This file is empty.")


def not_utf8() -> Message:
    return say("This file is not UTF-8 text: save it as UTF-8.")


def data_files(folder: Path) -> list[str]:
    """The names of the data files in a folder."""
    try:
        return sorted(e.name for e in os.scandir(folder) if e.name.lower().endswith(DATA_SUFFIXES))
    except OSError:
        return []


def missing(path: Path) -> Message:
    if near := did_you_mean(path.name, data_files(path.parent)):
        return say("There is no such file. Did you mean {near}?", near=str(path.with_name(near)))
    return say("There is no such file.")
