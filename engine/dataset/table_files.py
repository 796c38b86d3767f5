"""Reads tables (CSV, TSV, Parquet, Arrow) and plain text."""

import csv
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from itertools import islice
from typing import Any, TextIO

from engine.dataset.limits import ROW_BYTES, too_long
from engine.dataset.row_file import SNIFF_BYTES, DataError, RowFile
from engine.dataset.table_nulls import without_table_nulls
from engine.dataset.turns import as_string
from engine.messages.message import say

BATCH_ROWS = 64
PAGE_BYTES = 32 << 10
SEPARATORS = (",", "\t", ";", "|")
SNIFFED_ROWS = 20  # to find the separator
CONSISTENT = 0.8  # the share of them that must have as many cells as the first line
# A Parquet file that takes so many times its size, or more than this in one part, is not read.
EXPANSION, EXPANDED_BYTES, EXPANDED_VALUES = 1000, 64 << 20, 4 << 20


class CsvFile(RowFile):
    """A CSV file with the column names in its first line. The separator is found from the first lines."""

    _cut_row_looks_complete = True

    def values(self) -> Iterator[tuple[int | None, Any]]:
        csv.field_size_limit(ROW_BYTES)  # the default limit is too short for many examples
        tabs = ".tsv" in [suffix.lower() for suffix in self.path.suffixes[-2:]]
        with self.open() as raw:
            start = raw.read(SNIFF_BYTES).decode("utf-8", "replace")
        with self.open() as raw, io.TextIOWrapper(raw, encoding="utf-8", newline="") as file:
            if named := re.match(r"sep=(.)\r?\n", start):  # as Excel writes it
                file.readline()
            separator = named[1] if named else separator_of(start, "\t" if tabs else ",")
            lines = _RowLines(self, file)
            reader = csv.reader(lines, delimiter=separator)
            try:
                names = next(reader, [])
                if twice := next((name for name in names if names.count(name) > 1), None):
                    raise DataError(say('Two columns are named "{column}": rename one.', column=twice))
                for cells in reader:
                    lines.size = 0
                    if not cells:
                        continue  # a blank line
                    if len(cells) > len(names):
                        message = say("Line {line} has more cells than the first line.", line=reader.line_num)
                        self.report_bad_row(message, ",".join(cells))
                        continue
                    cells += [None] * (len(names) - len(cells))  # type: ignore[list-item]
                    yield reader.line_num, dict(zip(names, cells, strict=True))
            except csv.Error as error:
                raise DataError(
                    say("Line {line} is not valid CSV: {reason}.", line=reader.line_num, reason=str(error))
                ) from None
        self.ended = not self.truncated


class _RowLines:
    """The lines of a text file, counted. Raises `DataError` for a row of too many characters, before it is read.

    `size`: the characters since the last row.
    """

    def __init__(self, owner: RowFile, file: TextIO) -> None:
        self._owner, self._file, self.size = owner, file, 0

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(ROW_BYTES - self.size):
            self.size += len(line)
            self._owner.count_bytes(len(line.encode()))
            if self.size >= ROW_BYTES:
                raise DataError(too_long(self._owner.rows_read + 1))
            yield line


def separator_of(start: str, usual: str) -> str:
    """The separator of a table by its first lines; `usual`, by its name, if no other one fits better."""
    lines = start.splitlines(keepends=True)
    fitting: dict[str, tuple[int, int]] = {}
    for separator in (usual, *SEPARATORS):
        with suppress(csv.Error):
            rows = [row for row in islice(csv.reader(lines, delimiter=separator), SNIFFED_ROWS) if row]
            names, others = rows[0], rows[1:]
            alike = sum(len(row) == len(names) for row in others)
            if len(names) > 1 and alike >= CONSISTENT * len(others):
                fitting[separator] = (alike, len(names))
    return usual if usual in fitting or not fitting else max(fitting, key=lambda one: fitting[one])


class TextFile(RowFile):
    """Plain text in the column "text": one row per paragraph if there are blank lines, else one row per line.

    A file on the Hub is read as `datasets` reads it: one row per line.
    """

    _cut_row_looks_complete = True

    def values(self) -> Iterator[tuple[int | None, Any]]:
        with self.open() as file:
            start = file.read(1 << 16).replace(b"\r\n", b"\n")
        paragraphs = b"\n\n" in start.strip() and not self.remote
        with self.open() as raw, io.TextIOWrapper(raw, encoding="utf-8") as file_:
            found = _RowLines(self, file_)
            lines: list[str] = []
            for line in found:
                if line.strip() or self.remote:
                    lines.append(line.rstrip("\n"))
                if lines and not (paragraphs and line.strip()):
                    yield None, {"text": "\n".join(lines)}
                    lines = []
                found.size = found.size if lines else 0
            if lines:
                yield None, {"text": "\n".join(lines)}
        self.ended = not self.truncated


class ParquetFile(RowFile):
    """A Parquet file. Its metadata has the number of rows."""

    _rows: int | None = None

    @property
    def total(self) -> int:
        return self.rows_read if self._rows is None else self._rows

    @property
    def is_total_exact(self) -> bool:
        return self.ended or self._rows is not None

    def values(self) -> Iterator[tuple[int | None, Any]]:
        # Imported here because it is slow and few local datasets are Parquet.
        parquet: Any = import_module("pyarrow.parquet")
        try:
            # Of a remote file, only the pages that are needed are requested.
            source = (self.remote.open(), PAGE_BYTES) if self.remote else (self.path, 0)
            with parquet.ParquetFile(source[0], buffer_size=source[1], pre_buffer=False) as file:
                self._rows = file.metadata.num_rows
                yield from self._batches(file.iter_batches(batch_size=_rows_at_once(file.metadata)))
        except (ValueError, OSError, MemoryError) as error:  # ValueError is the base class of pyarrow's errors
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DataError(say("This is not a Parquet file: {reason}.", reason=str(error))) from None
        self.ended = True

    def _batches(self, batches: Any) -> Iterator[tuple[None, Any]]:
        for batch in batches:
            names = batch.schema.names
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise DataError(say('Two columns are named "{column}": rename one.', column=twice))
            # A batch of long rows is converted row by row, and none that is too long.
            for part in [batch] if batch.nbytes <= ROW_BYTES else _slices(batch, 1):
                if part.nbytes > ROW_BYTES:
                    self.report_bad_row(too_long(self.rows_read + 1), "")
                    continue
                self.count_bytes(part.nbytes)
                for row in part.to_pylist():
                    cells = without_table_nulls(row)
                    yield None, {k: as_string(v) if isinstance(v, datetime) else v for k, v in cells.items()}


class ArrowFile(ParquetFile):
    """An Arrow file, as `datasets` writes it to its cache and with save_to_disk."""

    def values(self) -> Iterator[tuple[int | None, Any]]:
        arrow: Any = import_module("pyarrow")
        try:
            with arrow.memory_map(str(self.path)) as file:
                try:
                    reader = arrow.ipc.open_stream(file)
                except arrow.ArrowInvalid:
                    reader = None
                if reader is not None:
                    yield from self._batches(small for batch in reader for small in _slices(batch))
                else:
                    table = arrow.ipc.open_file(file)
                    batches = (table.get_batch(number) for number in range(table.num_record_batches))
                    yield from self._batches(small for batch in batches for small in _slices(batch))
        except ValueError as error:
            raise DataError(say("This is not an Arrow file: {reason}.", reason=str(error))) from None
        self.ended = True


def _slices(batch: Any, rows: int = BATCH_ROWS) -> Iterator[Any]:
    """Split a batch: a batch of thousands of rows would be converted to Python objects at once."""
    return (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))


def _rows_at_once(metadata: Any) -> int:
    """How many rows of a Parquet file to read at once: one, if few bytes of it expand to many.

    Raises `DataError` for a file of which a part takes far more memory than disk.
    """
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    rows = BATCH_ROWS
    for one in columns:
        packed = max(one.total_compressed_size, 1)
        if (one.total_uncompressed_size > max(EXPANDED_BYTES, EXPANSION * packed)
                or one.num_values > max(EXPANDED_VALUES, EXPANSION * packed)):  # fmt: skip
            raise DataError(say("This file expands to far more than its size on disk, so it is not read."))
        if one.total_uncompressed_size > max(ROW_BYTES // BATCH_ROWS, EXPANSION // 10 * packed):
            rows = 1
    return rows
