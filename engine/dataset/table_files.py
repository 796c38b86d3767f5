"""Reads tables (CSV, TSV, Parquet, Arrow) and plain text."""

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from importlib import import_module
from typing import Any

from engine.dataset.row_file import DataError, RowFile, not_utf8
from engine.dataset.table_nulls import without_table_nulls
from engine.dataset.turns import as_string
from engine.messages.message import say

CELL_CHARACTERS = 16 << 20
BATCH_ROWS = 64
PAGE_BYTES = 32 << 10


class CsvFile(RowFile):
    """A CSV file with the column names in its first line; .tsv is tab-separated."""

    _cut_row_looks_complete = True

    def values(self) -> Iterator[tuple[int | None, Any]]:
        csv.field_size_limit(CELL_CHARACTERS)  # the default limit is too short for many examples
        tabs = ".tsv" in [suffix.lower() for suffix in self.path.suffixes[-2:]]
        with self.open() as raw, io.TextIOWrapper(raw, encoding="utf-8", newline="") as file:
            reader = csv.reader(file, delimiter="\t" if tabs else ",")
            try:
                names = next(reader, [])
                if twice := next((name for name in names if names.count(name) > 1), None):
                    raise DataError(say('Two columns are named "{column}": rename one.', column=twice))
                for cells in reader:
                    if not cells:
                        continue  # a blank line
                    # A text file has no position while it is iterated over: add up the cells instead.
                    self.count_bytes(sum(len(cell.encode()) + 1 for cell in cells) + 1)
                    if len(cells) > len(names):
                        message = say("Line {line} has more cells than the first line.", line=reader.line_num)
                        self.report_bad_row(message, ",".join(cells))
                        continue
                    cells += [None] * (len(names) - len(cells))  # type: ignore[list-item]
                    yield reader.line_num, dict(zip(names, cells, strict=True))
            except UnicodeDecodeError:
                raise DataError(not_utf8()) from None
            except csv.Error as error:
                raise DataError(
                    say("Line {line} is not valid CSV: {reason}.", line=reader.line_num, reason=str(error))
                ) from None
        self.ended = not self.truncated


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
            lines: list[str] = []
            for line in file_:
                self.count_bytes(len(line.encode()))
                if line.strip() or self.remote:
                    lines.append(line.rstrip("\n"))
                if lines and not (paragraphs and line.strip()):
                    yield None, {"text": "\n".join(lines)}
                    lines = []
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
                yield from self._batches(file.iter_batches(batch_size=BATCH_ROWS))
        except ValueError as error:  # the base class of pyarrow's errors
            raise DataError(say("This is not a Parquet file: {reason}.", reason=str(error))) from None
        self.ended = True

    def _batches(self, batches: Any) -> Iterator[tuple[None, Any]]:
        for batch in batches:
            names = batch.schema.names
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise DataError(say('Two columns are named "{column}": rename one.', column=twice))
            self.bytes_read += batch.nbytes
            for row in batch.to_pylist():
                yield (
                    None,
                    {
                        k: as_string(v) if isinstance(v, datetime) else v
                        for k, v in without_table_nulls(row).items()
                    },
                )


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


def _slices(batch: Any) -> Iterator[Any]:
    """Split a batch: a batch of thousands of rows would be converted to Python objects at once."""
    return (batch.slice(start, BATCH_ROWS) for start in range(0, batch.num_rows, BATCH_ROWS))
