"""Reads CSV and Parquet files, which the engine takes as well."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from engine.preflight.rows import DataError, RowFile, not_utf8
from engine.spec.text import N_, say

CELL_CHARACTERS = 16 << 20
BATCH_ROWS = 64


class CsvFile(RowFile):
    """A table as text, with the names of the columns in its first line."""

    def values(self) -> Iterator[tuple[int | None, Any]]:
        csv.field_size_limit(CELL_CHARACTERS)  # the usual limit is shorter than many an example
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            try:
                for row in reader:
                    if None in row:
                        raise DataError(
                            say(N_("Line {line} has more cells than the first line."), line=reader.line_num)
                        )
                    # A text file cannot tell its place while it is iterated over: the cells' size must do.
                    self.bytes_read += sum(len(cell.encode()) + 1 for cell in row.values() if cell) + 1
                    yield reader.line_num, row
            except UnicodeDecodeError:
                raise DataError(not_utf8()) from None
            except csv.Error as error:
                raise DataError(
                    say(N_("Line {line} is not valid CSV: {reason}."), line=reader.line_num, reason=str(error))
                ) from None
        self.ended = True


class ParquetFile(RowFile):
    """A table as the Hub stores it. It knows its number of rows."""

    _rows: int | None = None

    @property
    def total(self) -> int:
        return self.seen if self._rows is None else self._rows

    def values(self) -> Iterator[tuple[int | None, Any]]:
        # Imported here: it takes a while, and few datasets on a disk are Parquet.
        parquet: Any = import_module("pyarrow.parquet")
        try:
            with parquet.ParquetFile(self.path) as file:
                self._rows = file.metadata.num_rows
                for batch in file.iter_batches(batch_size=BATCH_ROWS):
                    self.bytes_read += batch.nbytes
                    for row in batch.to_pylist():
                        yield None, row
        except ValueError as error:  # pyarrow's own are kinds of this one
            raise DataError(say(N_("This is not a Parquet file: {reason}."), reason=str(error))) from None
        self.ended = True
