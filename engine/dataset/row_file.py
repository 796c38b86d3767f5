"""Streams the rows of a data file: the base class of all readers."""

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
OnBadRow = Callable[[int, Message, str], None]

SNIFF_BYTES = 64 << 10
UNPACK_ERRORS = (gzip.BadGzipFile, EOFError)


class DataError(UserError):
    """A data file that cannot be used. The caller catches it to name the setting to blame."""

    def __init__(self, message: Message, code: str = "dataset_broken") -> None:
        super().__init__(code, message)


@dataclass(frozen=True)
class RemoteFile:
    """A file on the Hub. `open`: its bytes, decompressed; `truncated`: only its start is available."""

    open: Callable[[], BinaryIO]
    size: int
    truncated: bool = False


class RowFile:
    """A data file. Iterate over `rows()` once; then `total` is the number of rows.

    `read_all`: read the complete file; otherwise only the head of a large JSON document is read.
    `remote`: where the bytes come from, if not from `path` on this machine.
    `on_bad_row`: called with (row, why, the text) for each unreadable row, which is then skipped; without it
    the first such row raises `DataError`.
    """

    _cut_row_looks_complete = False  # if so, the last row of a truncated file is dropped

    def __init__(self, path: Path, *, read_all: bool = False, remote: RemoteFile | None = None) -> None:
        """Raises `DataError` if the file is missing, empty or unreadable."""
        self.path, self.read_all, self.remote = path, read_all, remote
        self.on_bad_row: OnBadRow | None = None
        self.rows_read = 0
        self.bytes_read = 0  # bytes of the file that these rows took up, roughly
        self._unpacked_bytes = 0  # of a compressed file: the bytes after decompression
        self.ended = False  # whether every row was read
        self._packed: BinaryIO | None = None
        try:
            if remote:
                self.size = remote.size
            else:
                with path.open("rb") as file:
                    self.size = os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            raise DataError(missing_file(path), "dataset_missing") from None
        except OSError as error:
            raise DataError(unreadable(error)) from None
        if not self.size:
            raise DataError(empty_file(), "dataset_empty")

    def open(self) -> BinaryIO:
        """The file's bytes as UTF-8, decompressed, without a byte order mark. Raises `DataError`."""
        raw = self._open()
        start = raw.read(SNIFF_BYTES)
        encoding = encoding_of(start)
        raw.close()
        if not start.removeprefix(codecs.BOM_UTF8).strip():
            raise DataError(empty_file(), "dataset_empty")
        raw = self._open()
        if encoding != "utf-8":
            return io.BufferedReader(_AsUtf8(raw, encoding))
        if start.startswith(codecs.BOM_UTF8):
            raw.read(len(codecs.BOM_UTF8))
        return raw

    @property
    def truncated(self) -> bool:
        """Whether only the start of the file is available."""
        return self.remote is not None and self.remote.truncated

    def _open(self) -> BinaryIO:
        if self.remote:
            return self.remote.open()
        match self.path.suffix.lower():
            case ".gz":
                self._packed = self.path.open("rb")
                return io.BufferedReader(gzip.GzipFile(fileobj=self._packed))
            case ".zst":
                self._packed = self.path.open("rb")
                arrow: Any = import_module("pyarrow")  # Python has a zstd decoder from 3.14 on
                return io.BufferedReader(arrow.CompressedInputStream(self._packed, "zstd"))
        return self.path.open("rb")

    def count_bytes(self, count: int) -> None:
        """Add to the bytes read. `count`: after decompression."""
        self.bytes_read = self._packed.tell() if self._packed else self.bytes_read + count
        self._unpacked_bytes += count

    @property
    def bytes_processed(self) -> int:
        """The bytes read or decompressed so far, whichever is more: limits how far a preview reads."""
        return max(self.bytes_read, self._unpacked_bytes)

    @property
    def total(self) -> int:
        """The number of rows: exact once `ended`, else estimated from the size of the rows read so far."""
        if self.ended or not self.bytes_read:
            return self.rows_read
        return max(self.rows_read, round(self.rows_read * self.size / self.bytes_read))

    @property
    def is_total_exact(self) -> bool:
        return self.ended

    def values(self) -> Iterator[tuple[int | None, Any]]:
        """(line or None, value) of each row; the value may be of any type. Sets `bytes_read` and `ended`."""
        raise NotImplementedError

    def rows(self) -> Iterator[Row]:
        """The rows in order; `rows_read` is the number of the current one. Without `read_all`, only the first
        rows of a large JSON document. Raises `DataError`."""
        values = self.values()
        if self.truncated and self._cut_row_looks_complete:
            values = (value for value, _next in pairwise(values))  # all but the last
        try:
            for line, value in values:
                self.rows_read += 1
                if isinstance(value, dict):
                    yield value
                elif self.on_bad_row:
                    self.on_bad_row(self.rows_read, self._not_an_object(line, value), str(value))
                else:
                    raise DataError(self._not_an_object(line, value))
        except UNPACK_ERRORS as error:
            raise DataError(say("This file cannot be decompressed: {reason}.", reason=str(error))) from None
        except UnicodeDecodeError:
            raise DataError(not_utf8()) from None
        except OSError as error:
            if self._packed and error.errno is None:  # raised by the decoder, not by the system
                raise DataError(say("This file cannot be decompressed: {reason}.", reason=str(error))) from None
            raise DataError(unreadable(error)) from None
        if not self.rows_read:
            raise DataError(say("This file has no rows."), "dataset_empty")

    def report_bad_row(self, message: Message, text: str) -> None:
        """Report an unreadable row. Raises `DataError` if there is no `on_bad_row`."""
        if not self.on_bad_row:
            raise DataError(message)
        self.rows_read += 1
        self.on_bad_row(self.rows_read, message, text)

    def _not_an_object(self, line: int | None, value: Any) -> Message:
        shown = json.dumps(value, ensure_ascii=False)[:40]
        if line is not None:
            return say(
                "Line {line} is {value}: a row must be an object such as {example}.",
                line=line, value=shown, example='{"instruction": "...", "output": "..."}',
            )  # fmt: skip
        return say(
            "Row {row} is {value}: a row must be an object such as {example}.",
            row=self.rows_read, value=shown, example='{"instruction": "...", "output": "..."}',
        )  # fmt: skip


class _AsUtf8(io.RawIOBase):
    """Converts a file in another encoding to UTF-8 bytes."""

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
    """The encoding of a text file by its first bytes: UTF-8, or UTF-16 with or without a byte order mark."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    head = start[:200]
    if b"\0" in head:  # every second byte of ASCII in UTF-16
        return "utf-16-be" if head[:1] == b"\0" else "utf-16-le"
    return "utf-8"


def unreadable(error: OSError) -> Message:
    return say("This file cannot be read: {reason}.", reason=error.strerror or str(error))


def empty_file() -> Message:
    return say("This file is empty.")


def not_utf8() -> Message:
    return say("This file is not UTF-8 text: save it as UTF-8.")


def data_files(folder: Path) -> list[str]:
    """The names of the data files in a folder."""
    try:
        return sorted(e.name for e in os.scandir(folder) if e.name.lower().endswith(DATA_SUFFIXES))
    except OSError:
        return []


def missing_file(path: Path) -> Message:
    if suggestion := did_you_mean(path.name, data_files(path.parent)):
        return say("There is no such file. Did you mean {near}?", near=str(path.with_name(suggestion)))
    return say("There is no such file.")
