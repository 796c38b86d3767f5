"""The rows to measure: all of them if that is quick, else a random sample, which is reported."""

import random
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from engine.config.local_paths import is_local
from engine.config.sources import Slice, SpecSource, parse_split
from engine.dataset.json_files import JsonFile
from engine.dataset.limits import DataError, nested_deeper, too_deep
from engine.dataset.mapping import BadRow, Row
from engine.dataset.open_source import find_files, open_file, open_source, slice_rows
from engine.dataset.table_nulls import without_table_nulls
from engine.dataset.turns import is_conversation
from engine.messages.message import N_, Message
from engine.runtime.explain import explain

MAX_ROWS = 100_000  # measured, unless all are requested
HUB_ROWS = 2_000  # of a Hub dataset, streamed
SAMPLED_BYTES = 256 << 20  # a larger JSON lines file is sampled
COUNTED_BYTES = 16 << 30  # in a larger file, lines are estimated instead of counted
CHUNK_BYTES = 1 << 20
HEAD_ROWS = 1000
MAX_LINE_BYTES = 16 << 20
SHOWN_CHARACTERS = 200  # of a row that cannot be read
SEED = 3407

Numbered = tuple[int, Row | BadRow]


class Sample:
    """The rows of a source. Iterate once; then `total`, `exact` and `sampled` are set.

    `total`: rows in the slice, an estimate unless `exact`. `max_rows`: None for all.
    """

    def __init__(self, place: SpecSource, max_rows: int | None = MAX_ROWS) -> None:
        self.place, self._max_rows = place, max_rows
        self._source, self.field, self._split_field = place.source, place.field, place.split_field
        self.total, self.exact, self.sampled = 0, False, False

    @property
    def local(self) -> bool:
        return is_local(self._source.path)

    def __iter__(self) -> Iterator[Numbered]:
        """(row number from 1, the row or why it cannot be read). Raises `UserError`."""
        try:
            if not self.local:
                yield from self._streamed()
            elif self._max_rows is not None and (lines := self._large_file_of_lines()):
                yield from self._random_lines(lines)
            else:
                yield from self._in_order()
        except DataError as error:
            from engine.training.load_rows import file_error  # which imports datasets

            raise file_error(error, self._source, self.field, self._split_field) from error

    def _in_order(self) -> Iterator[Numbered]:
        split = parse_split(self._source.split)
        first, last = 0, sys.maxsize  # the slice, if `slice_rows` does not apply it
        if late := split if split and self._needs_row_count(split) else None:
            first, last = late.bounds(self._count())
        file = open_source(self._source, read_all=bool(late) or self._max_rows is None)
        bad: list[Numbered] = []
        file.on_bad_row = lambda row, why, text: bad.append((row, _unreadable_row(why, text)))
        taken = 0

        def rows() -> Iterator[Numbered]:
            for numbered in slice_rows(file, self._source.split):
                yield from bad
                bad.clear()
                yield numbered
            yield from bad

        for number, row in rows():
            if not first < number <= last:
                continue
            if self._max_rows is not None and taken >= self._max_rows:
                self.sampled = True
                break
            taken += 1
            yield number, row
        self.exact = bool(file.ended or late or (split and split.known_stop and not self.sampled))
        self.total = taken
        if self.sampled:
            start, stop = (first, last) if late or not split else split.bounds(file.total)
            self.total = max(taken, stop - start)

    def _needs_row_count(self, split: Slice | None) -> bool:
        """Whether all rows must be counted to know which are in the slice."""
        bounds = [split.start, split.stop] if split else []
        return any(bound and (bound.endswith("%") or bound.startswith("-")) for bound in bounds)

    def _count(self) -> int:
        file = open_source(self._source, read_all=True)
        file.on_bad_row = lambda row, why, text: None
        for _ in file.rows():
            pass
        return file.rows_read

    def _large_file_of_lines(self) -> Path | None:
        """The path, if the source is one uncompressed JSON lines file that is too large to read completely."""
        split = parse_split(self._source.split)
        files = find_files(self._source.path, split.split if split else "train")
        only = files[0]
        if len(files) > 1 or (split and not split.whole) or only.suffix.lower() not in (".jsonl", ".ndjson"):
            return None
        if only.stat().st_size <= SAMPLED_BYTES:
            return None
        file = open_file(only, encoding=self._source.encoding)
        return only if isinstance(file, JsonFile) and file.has_plain_lines else None

    def _random_lines(self, path: Path) -> Iterator[Numbered]:
        """The first rows, then lines at random positions. All lines are counted on the way; in a file too large for
        that, their count and their numbers are estimates from the mean line length."""
        assert self._max_rows is not None
        self.sampled = True
        size, taken = path.stat().st_size, 0
        self.exact = size <= COUNTED_BYTES
        with path.open("rb") as file:
            for line in islice(file, min(HEAD_ROWS, self._max_rows)):
                taken += 1
                yield taken, _decoded(line)
            head, number, lines, line_bytes = file.tell(), taken, 0, 0
            mean = head / max(taken, 1)
            self.total = round(size / mean) if mean else taken
            positions = random.Random(SEED)
            for position in sorted(
                positions.randrange(head, size) for _ in range(self._max_rows - taken) if head < size
            ):
                at = file.tell()
                if position < at:  # within the previous line: it would look like a duplicate
                    continue
                if self.exact:
                    number += _line_ends(file, position - at)
                else:
                    file.seek(position)
                number += file.readline(MAX_LINE_BYTES).endswith(b"\n")  # the rest of a line that began earlier
                if not self.exact:
                    number = taken + round((file.tell() - head) / mean)
                line = file.readline(MAX_LINE_BYTES)
                number += line.endswith(b"\n")
                if line.strip():
                    lines, line_bytes = lines + 1, line_bytes + len(line)
                    yield number if line.endswith(b"\n") else number + 1, _decoded(line)
            if self.exact:
                self.total = number + _line_ends(file, size - file.tell()) + _lacks_newline(file, size)
            elif lines:  # from all over the file: a better estimate than from its head
                self.total = taken + round((size - head) * lines / line_bytes)

    def _streamed(self) -> Iterator[Numbered]:
        from datasets import load_dataset

        source = self._source
        split = parse_split(source.split)
        max_rows = HUB_ROWS if self._max_rows is not None else None
        try:
            rows = load_dataset(
                source.path, name=source.name or None, revision=source.revision or None,
                split=split.split if split else source.split, streaming=True,
            )  # fmt: skip
            first = int(split.start) if split and split.start and split.start.isdigit() else 0
            stop = split.known_stop if split else None
            wanted = min((n for n in (max_rows, stop - first if stop else None) if n is not None), default=None)
            known = rows.info.splits.get(split.split if split else "train") if rows.info.splits else None
            count = 0
            for count, row in enumerate(islice(iter(rows.skip(first)), wanted), 1):
                yield first + count, without_table_nulls(row)
        except Exception as error:
            raise explain(error, "dataset.path") from error
        self.sampled = wanted is not None and count == wanted and wanted == max_rows
        self.exact = not self.sampled
        total = known.num_examples if known and known.num_examples else count
        self.total = total if self.sampled else count


def _line_ends(file: BinaryIO, count: int) -> int:
    """How many lines end within the next `count` bytes of a file."""
    found = 0
    while count > 0 and (chunk := file.read(min(count, CHUNK_BYTES))):
        found, count = found + chunk.count(b"\n"), count - len(chunk)
    return found


def _lacks_newline(file: BinaryIO, size: int) -> bool:
    """Whether the last line of a file has no newline."""
    file.seek(size - 1)
    return file.read(1) != b"\n"


def _decoded(line: bytes) -> Row | BadRow:
    raw = line[:SHOWN_CHARACTERS].decode("utf-8", "replace")
    try:
        row: Any = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return BadRow("dataset.path", N_("Row {row} is not valid JSON: {reason}."), reason=str(error), raw=raw)
    if is_conversation(row):
        row = {"messages": row}
    if not isinstance(row, dict):
        return BadRow(
            "dataset.path", N_("Row {row} is not an object but {type}."), type=type(row).__name__, raw=raw
        )
    if nested_deeper(row):
        return _unreadable_row(too_deep(0), raw)
    return row


def _unreadable_row(why: Message, text: str) -> BadRow:
    values: dict[str, Any] = {name: value for name, value in why.values.items() if name != "row"}
    return BadRow("dataset.path", why.template, **values, raw=text[:SHOWN_CHARACTERS])
