"""Reads JSON and JSONL files, and says in words what is wrong with one.

The memory it takes is bounded: a file of lines is read line by line; one JSON document is read whole when it
is small, and of a large one only the head is looked at.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from engine.preflight.rows import DataError, RowFile, empty, not_utf8
from engine.spec.text import N_, say

WHOLE_BYTES = 32 << 20  # one JSON document up to this size is parsed as a whole, in about half a second
HEAD_BYTES = 4 << 20  # how much of a larger one is looked at
LINE_BYTES = 16 << 20  # a single row longer than this is no training example
SNIFF_BYTES = 64 << 10
_LIST_UNDER_KEY = re.compile(r'\s*\{\s*"((?:[^"\\]|\\.)*)"\s*:\s*\[')


class JsonFile(RowFile):
    """A JSON or JSONL file. `shape`: whether it holds rows on lines or one document."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with path.open("rb") as file:
            self.shape = self._shape(file.read(SNIFF_BYTES))

    def _shape(self, start: bytes) -> Literal["lines", "document"]:
        """What a file starts like, whatever its name says."""
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(not_utf8())
        text = start.removeprefix(codecs.BOM_UTF8).lstrip()
        if not text:
            raise DataError(empty())
        if self.path.suffix.lower() in (".jsonl", ".ndjson"):
            return "lines"
        if not text.startswith(b"{"):
            return "document"
        # An object: the first of many, one to a line, or the only one, with the rows under one of its keys.
        with self.path.open("rb") as file:
            first, second = self._line(file, HEAD_BYTES), self._line(file, SNIFF_BYTES)
        try:
            msgspec.json.decode(first.removeprefix(codecs.BOM_UTF8))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return "document"
        return "lines" if second.strip() else "document"

    @staticmethod
    def _line(file: BinaryIO, limit: int) -> bytes:
        """The next line that is not blank, or the first `limit` bytes of it."""
        while line := file.readline(limit):
            if line.strip(codecs.BOM_UTF8 + b" \t\r\n"):
                break
        return line

    def values(self) -> Iterator[tuple[int | None, Any]]:
        """(line or None, value) of each row, whatever the value is."""
        if self.shape == "lines":
            yield from self._lines()
        elif self.size <= WHOLE_BYTES:
            data = self.path.read_bytes()
            _, values = _list_in(_decode(data.removeprefix(codecs.BOM_UTF8)))
            for number, value in enumerate(values, 1):
                self.bytes_read = self.size * number // len(values)
                yield None, value
            self.ended = True
        else:
            yield from self._head()

    def _lines(self) -> Iterator[tuple[int, Any]]:
        with self.path.open("rb") as file:
            number = 0
            while line := file.readline(LINE_BYTES):
                number += 1
                self.bytes_read += len(line)
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                if len(line) >= LINE_BYTES:
                    raise DataError(say(N_("Line {line} is too long for one example."), line=number))
                if line.strip():
                    yield number, _decode(line, number)
        self.ended = True

    def _head(self) -> Iterator[tuple[None, Any]]:
        """The rows at the start of a large document, as many as are whole in its head."""
        with self.path.open("rb") as file:
            data = file.read(HEAD_BYTES).removeprefix(codecs.BOM_UTF8)
        # The end of the head may cut a character in two: the decoder keeps it back.
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(data)
        under_key = _LIST_UNDER_KEY.match(text)
        position = under_key.end() if under_key else text.find("[") + 1
        decoder = json.JSONDecoder()
        while True:
            while position < len(text) and text[position] in " \t\r\n,":
                position += 1
            try:
                value, position = decoder.raw_decode(text, position)
            except (ValueError, RecursionError):
                break  # the head ends inside this row
            self.bytes_read = len(data) * position // len(text)
            yield None, value
        if not self.seen:
            raise DataError(say(N_("No row was found in the first {count} MB."), count=HEAD_BYTES >> 20))


def _decode(data: bytes, line: int | None = None) -> Any:
    """The value of a JSON text. Raises `DataError` with the line at which it goes wrong."""
    try:
        return msgspec.json.decode(data)
    except UnicodeDecodeError:
        raise DataError(not_utf8()) from None
    except (msgspec.DecodeError, RecursionError) as error:
        reason, at = str(error), line
        try:
            json.loads(data)  # slower, and it knows the line
        except json.JSONDecodeError as precise:
            reason, at = precise.msg, line or precise.lineno
        except UnicodeDecodeError:
            raise DataError(not_utf8()) from None
        except (ValueError, RecursionError):
            pass
        if at is None:
            raise DataError(say(N_("This is not valid JSON: {reason}."), reason=reason)) from None
        raise DataError(say(N_("Line {line} is not valid JSON: {reason}."), line=at, reason=reason)) from None


def _list_in(document: Any) -> tuple[str, list[Any]]:
    """(key, rows) of a JSON document: it is the list of rows, with no key, or has that under one of its keys."""
    if isinstance(document, list):
        return "", document
    if not isinstance(document, dict):
        return "", [document]
    lists = {
        key: value
        for key, value in document.items()
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    }
    if len(lists) > 1:
        raise DataError(say(N_("This file has several lists of rows: {keys}. Keep one."), keys=", ".join(lists)))
    # A lone object with a conversation in it is a row, the only one.
    return next(((key, rows) for key, rows in lists.items() if not is_turns(rows)), ("", [document]))


def rows_key(path: Path) -> str:
    """The key under which a .json file has its rows, for whoever loads it; empty when it needs none.

    Raises `DataError` for a file that cannot be used.
    """
    file = JsonFile(path)
    if file.shape == "lines":
        return ""
    small = file.size <= WHOLE_BYTES
    with path.open("rb") as opened:
        data = opened.read(WHOLE_BYTES if small else SNIFF_BYTES).removeprefix(codecs.BOM_UTF8)
    if small:
        return _list_in(_decode(data))[0]
    under_key = _LIST_UNDER_KEY.match(data.decode("utf-8", "replace"))
    return str(json.loads(f'"{under_key[1]}"')) if under_key else ""


def is_turns(value: Any) -> bool:
    """Whether a value is a conversation: a list of turns with role and content, or with from and value."""
    return isinstance(value, list) and bool(value) and all(is_turn(turn) for turn in value)


def is_turn(turn: Any) -> bool:
    """Whether a value is one turn of a conversation, in either of the two usual spellings."""
    return isinstance(turn, dict) and ({"role", "content"} <= turn.keys() or {"from", "value"} <= turn.keys())
