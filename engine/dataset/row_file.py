"""Streams the rows of a data file: the base class of all readers."""

import codecs
import gzip
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO

from engine.config.fields import did_you_mean
from engine.config.local_paths import DATA_SUFFIXES
from engine.dataset.encodings import encoding_of, not_utf8
from engine.dataset.limits import (
    BAD_ROWS,
    FOLDER_ENTRIES,
    LookEndedError,
    nested_deeper,
    open_regular,
    too_deep,
    unreadable,
)
from engine.dataset.limits import (
    DataError as DataError,
)
from engine.dataset.turn_shapes import as_turns
from engine.dataset.turns import is_conversation
from engine.messages.message import Message, say

Row = dict[str, Any]
OnBadRow = Callable[[int, Message, str], None]

SNIFF_BYTES = 64 << 10
RAW_CHARACTERS = 20_000  # of a row that cannot be read are kept
UNPACK_ERRORS = (gzip.BadGzipFile, EOFError)


@dataclass(frozen=True)
class RemoteFile:
    """A file on the Hub. `open`: its bytes, decompressed; `truncated`: only its start is available."""

    open: Callable[[], BinaryIO]
    size: int
    truncated: bool = False


class RowFile:
    """A data file. Iterate over `rows()` once; then `total` is the number of rows.

    `read_all`: read the complete file; otherwise only the head of a large JSON document is read.
    `encoding`: of a text file; "auto" for UTF-8 or UTF-16. `remote`: where the bytes come from, if not from
    `path` on this machine.
    `on_bad_row`: called with (row, why, the text) for each unreadable row, which is then skipped; without it
    the first such row raises `DataError`.
    """

    is_list = False  # whether its values are many: then texts are rows
    _cut_row_looks_complete = False  # if so, the last row of a truncated file is dropped

    def __init__(
        self, path: Path, *, read_all: bool = False, encoding: str = "auto", remote: RemoteFile | None = None
    ) -> None:
        """Raises `DataError` if the file is missing, empty or unreadable."""
        self.path, self.read_all, self.encoding, self.remote = path, read_all, encoding, remote
        self.on_bad_row: OnBadRow | None = None
        self.rows_read = 0
        self.bytes_read = 0  # bytes of the file that these rows took up, roughly
        self._unpacked_bytes = 0  # of a compressed file: the bytes after decompression
        self.ended = False  # whether every row was read
        self.look_ended = False  # whether a limit of `limit_look` was reached
        self._packed: BinaryIO | None = None
        self._most_bytes, self._deadline = sys.maxsize, float("inf")
        self._bad_in_a_row = 0
        self._first: Any = None
        try:
            if remote:
                self.size = remote.size
            else:
                with open_regular(path) as file:
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
        if start.startswith(b"PK\x03\x04"):
            raise DataError(spreadsheet())
        encoding = encoding_of(start) if self.encoding == "auto" else self.encoding
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
        file, suffix = open_regular(self.path), self.path.suffix.lower()
        start = file.read(4)
        file.seek(0)
        if suffix == ".gz" or start.startswith(b"\x1f\x8b"):
            self._packed = file
            return io.BufferedReader(gzip.GzipFile(fileobj=file))
        if suffix == ".zst" or start == b"\x28\xb5\x2f\xfd":
            self._packed = file
            arrow: Any = import_module("pyarrow")  # Python has a zstd decoder from 3.14 on
            return io.BufferedReader(arrow.CompressedInputStream(file, "zstd"))
        return file

    def limit_look(self, size: int, seconds: float) -> None:
        """End the rows after so many bytes or seconds."""
        self._most_bytes, self._deadline = size, time.monotonic() + seconds

    def count_bytes(self, count: int) -> None:
        """Add to the bytes read. `count`: after decompression. Raises `LookEndedError`."""
        self.bytes_read = self._packed.tell() if self._packed else self.bytes_read + count
        self._unpacked_bytes += count
        if self.bytes_processed > self._most_bytes or time.monotonic() > self._deadline:
            raise LookEndedError

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
                if nested_deeper(value):
                    self.report_bad_row(too_deep(self.rows_read + 1), "")
                elif isinstance(row := self._as_row(value), dict):
                    self.rows_read += 1
                    self._bad_in_a_row = 0
                    yield row
                else:
                    self.report_bad_row(self._not_an_object(line, value), str(value))
        except LookEndedError:
            self.look_ended = True
        except UNPACK_ERRORS as error:
            raise DataError(say("This file cannot be decompressed: {reason}.", reason=str(error))) from None
        except UnicodeDecodeError as error:
            raise self.wrong_encoding(error.object) from None
        except OSError as error:
            if self._packed and error.errno is None:  # raised by the decoder, not by the system
                raise DataError(say("This file cannot be decompressed: {reason}.", reason=str(error))) from None
            raise DataError(unreadable(error)) from None
        except RecursionError:
            raise DataError(too_deep(self.rows_read + 1)) from None
        if not self.rows_read and not self.look_ended:
            raise DataError(say("This file has no rows."), "dataset_empty")

    def wrong_encoding(self, data: bytes) -> DataError:
        """The error for bytes that are not text in the file's encoding."""
        if self.encoding == "auto":
            return DataError(not_utf8(data), "dataset_encoding")
        return DataError(say("This file is not {encoding} text.", encoding=self.encoding), "dataset_encoding")

    def report_bad_row(self, message: Message, text: str) -> None:
        """Report an unreadable row. Raises `DataError` if there is no `on_bad_row`."""
        if not self.on_bad_row:
            raise DataError(message)
        self.rows_read += 1
        self._bad_in_a_row += 1
        if self._bad_in_a_row > BAD_ROWS:
            message = say("{count} rows in a row cannot be read: is this file what its name says?", count=BAD_ROWS)
            raise DataError(message)
        self.on_bad_row(self.rows_read, message, text[:RAW_CHARACTERS])

    def _as_row(self, value: Any) -> Any:
        """A row that is no object as an object: turns, or a text if all rows are."""
        self._first = value if self._first is None else self._first
        if isinstance(value, list) and is_conversation(as_turns(value)):
            return {"messages": value}
        if isinstance(value, str) and isinstance(self._first, str) and self.is_list:
            return {"text": value}
        return value

    def _not_an_object(self, line: int | None, value: Any) -> Message:
        shown = json.dumps(value, ensure_ascii=False)[:40]
        if line is not None:
            return say(
                "Line {line} is {value}: a row must be an object such as {example}.",
                line=line, value=shown, example='{"instruction": "...", "output": "..."}',
            )  # fmt: skip
        return say(
            "Row {row} is {value}: a row must be an object such as {example}.",
            row=self.rows_read + 1, value=shown, example='{"instruction": "...", "output": "..."}',
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


def spreadsheet() -> Message:
    return say("This is an Excel file or another archive. Save the sheet as CSV (UTF-8), and use that.")


def empty_file() -> Message:
    return say("This file is empty.")


def data_files(folder: Path) -> list[str]:
    """The names of the data files in a folder."""
    try:
        some = islice(os.scandir(folder), FOLDER_ENTRIES)
        return sorted(e.name for e in some if e.name.lower().endswith(DATA_SUFFIXES))
    except OSError:
        return []


def missing_file(path: Path) -> Message:
    if suggestion := did_you_mean(path.name, data_files(path.parent)):
        return say("There is no such file. Did you mean {near}?", near=str(path.with_name(suggestion)))
    return say("There is no such file.")
