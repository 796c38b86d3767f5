"""The rows of a data file, read a little at a time: what all kinds of files have in common."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.preflight.places import DATA_SUFFIXES
from engine.spec.fields import did_you_mean
from engine.spec.text import N_, Message, say

Row = dict[str, Any]


class DataError(Exception):
    """A data file that cannot be used; `message` says why."""

    def __init__(self, message: Message) -> None:
        self.message = message
        super().__init__(str(message))


class RowFile:
    """A data file on this machine. Iterate over `rows()` once; then `total` says how many there are."""

    def __init__(self, path: Path) -> None:
        """Raises `DataError` for what is no readable file at all."""
        self.path = path
        self.seen = 0  # rows so far
        self.bytes_read = 0  # bytes that these rows took, about
        self.ended = False  # whether every row was seen
        try:
            if path.is_dir():
                raise DataError(_folder_message(path))
            with path.open("rb") as file:
                self.size = os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            raise DataError(_missing_message(path)) from None
        except OSError as error:
            raise DataError(unreadable(error)) from None
        if not self.size:
            raise DataError(empty())

    @property
    def total(self) -> int:
        """The number of rows: exact once `ended`, else judged by the size of those seen."""
        if self.ended or not self.bytes_read:
            return self.seen
        return max(self.seen, round(self.seen * self.size / self.bytes_read))

    def values(self) -> Iterator[tuple[int | None, Any]]:
        """(line or None, value) of each row, whatever the value is. Sets `bytes_read` and `ended`."""
        raise NotImplementedError

    def rows(self) -> Iterator[Row]:
        """The rows in order; of a very large JSON document only the first ones. Raises `DataError`."""
        try:
            for line, value in self.values():
                if not isinstance(value, dict):
                    raise DataError(self._not_an_object(line, value))
                self.seen += 1
                yield value
        except OSError as error:
            raise DataError(unreadable(error)) from None
        if not self.seen:
            raise DataError(say(N_("This file has no rows.")))

    def _not_an_object(self, line: int | None, value: Any) -> Message:
        shown = json.dumps(value, ensure_ascii=False)[:40]
        if line is not None:
            return say(
                N_("Line {line} is {value}: a row must be an object such as {example}."),
                line=line, value=shown, example='{"instruction": "...", "output": "..."}',
            )  # fmt: skip
        return say(
            N_("Row {row} is {value}: a row must be an object such as {example}."),
            row=self.seen + 1, value=shown, example='{"instruction": "...", "output": "..."}',
        )  # fmt: skip


def unreadable(error: OSError) -> Message:
    return say(N_("This file cannot be read: {reason}."), reason=error.strerror or str(error))


def empty() -> Message:
    return say(N_("This file is empty."))


def not_utf8() -> Message:
    return say(N_("This file is not UTF-8 text: save it as UTF-8."))


def _data_files(folder: Path) -> list[str]:
    try:
        return sorted(e.name for e in os.scandir(folder) if e.name.lower().endswith(DATA_SUFFIXES))
    except OSError:
        return []


def _folder_message(path: Path) -> Message:
    if files := _data_files(path):
        return say(N_("This is a folder: choose a file in it, such as {file}."), file=os.path.join(path, files[0]))
    return say(N_("This is a folder without a JSON or JSONL file."))


def _missing_message(path: Path) -> Message:
    if near := did_you_mean(path.name, _data_files(path.parent)):
        return say(N_("There is no such file. Did you mean {near}?"), near=str(path.with_name(near)))
    return say(N_("There is no such file."))
