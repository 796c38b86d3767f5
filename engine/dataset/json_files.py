"""Reads JSON and JSONL files.

Memory is bounded: JSONL is read line by line; a JSON document is parsed at once if it is small, else streamed.
"""

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from itertools import islice
from typing import Any, BinaryIO, Literal

import msgspec

from engine.dataset.limits import ROW_BYTES, ROW_VALUES, open_regular, too_deep, too_long
from engine.dataset.row_file import RAW_CHARACTERS, SNIFF_BYTES, UNPACK_ERRORS, DataError, RowFile
from engine.dataset.turns import is_conversation, is_turn
from engine.messages.message import say

MAX_DOCUMENT_BYTES = 32 << 20  # a JSON document up to this size is parsed at once, in about half a second
MAX_DOCUMENT_VALUES = 4_000_000  # and with so many values: each is an object in memory
BLANK_LINES = 1000  # passed over at the start, to tell lines from a document
HEAD_BYTES = 4 << 20  # how much of a larger one is read without `read_all`, and the block size with it
LINES_NAME = re.compile(r"\.(jsonl|ndjson)(\.\w+)?$", re.IGNORECASE)
# An object up to its first list of objects, with only plain values before it. Possessive: never backtracks.
_TEXT = r'"(?:[^"\\]++|\\.)*+"'
_LIST_UNDER_KEY = re.compile(
    rf"\s*+\{{(?:\s*+{_TEXT}\s*+:\s*+(?:{_TEXT}|[^\[\]{{}}\",]++)\s*+,)*+\s*+{_TEXT}\s*+:\s*+\[(?=\s*+\{{)"
)


class JsonFile(RowFile):
    """A JSON or JSONL file, whatever its name. `shape`: one row per line, or one document."""

    @cached_property
    def shape(self) -> Literal["lines", "document"]:
        """By the first lines. The name decides only about a first line that is no JSON text of its own: it is the
        start of a document, or a broken row."""
        try:
            with self.open() as file:
                first, second = self._line(file, HEAD_BYTES), self._line(file, SNIFF_BYTES)
        except (*UNPACK_ERRORS, OSError, UnicodeDecodeError):
            return "document"  # reading it reports what is wrong
        if _is_json(first):
            # An object or a list: the first of many, one per line, or the only one, with the rows in it.
            alone = first.lstrip()[:1] == b"{" and LINES_NAME.search(self.path.name)
            return "lines" if second.strip() or alone else "document"
        if not LINES_NAME.search(self.path.name):
            return "document"
        is_long = len(first) >= HEAD_BYTES
        starts_list = first.lstrip()[:1] == b"[" and not is_long
        starts_object = first.strip() == b"{" or (second[:1] in b" \t" and not _is_json(second))
        return "document" if starts_list or (starts_object and first.lstrip()[:1] == b"{" and second) else "lines"

    @property
    def has_plain_lines(self) -> bool:
        """Whether a line can be read from anywhere in the file: it is UTF-8, and not compressed."""
        with self.open() as file:
            start = file.read(SNIFF_BYTES)
        with open_regular(self.path) as raw:
            return self.shape == "lines" and raw.read(SNIFF_BYTES) == start

    def is_likely(self) -> bool:
        """Whether the first line is an object or a list, or opens one: then it is JSON whatever the name."""
        with suppress(DataError, *UNPACK_ERRORS, OSError, UnicodeDecodeError), self.open() as file:
            first = self._line(file, SNIFF_BYTES).strip()
            return first in (b"{", b"[") or (first[:1] in (b"{", b"[") and _is_json(first))
        return False

    @staticmethod
    def _line(file: BinaryIO, limit: int) -> bytes:
        """The next non-blank line, at most `limit` bytes of it; empty if there is none in the next few."""
        for line in islice(iter(lambda: file.readline(limit), b""), BLANK_LINES):
            if line.strip(b" \t\r\n"):
                return line
        return b""

    def values(self) -> Iterator[tuple[int | None, Any]]:
        if self.shape == "lines":
            self.is_list = True
            yield from self._lines()
            return
        with self.open() as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
        if self.truncated or len(data) > MAX_DOCUMENT_BYTES or data.count(b",") > MAX_DOCUMENT_VALUES:
            yield from self._stream()
            return
        try:
            document = self._decode(data)
        except DataError:
            if not _has_two_values(data):
                raise
            yield from self._stream(at_top=True)  # each over several lines
            return
        _, values = _list_in(document)
        self.is_list = isinstance(document, list)
        for number, value in enumerate(values, 1):
            self.bytes_read = self.size * number // len(values)
            yield None, value
        self.ended = True

    def _lines(self) -> Iterator[tuple[int, Any]]:
        with self.open() as file:
            number = 0
            while line := file.readline(ROW_BYTES):
                number += 1
                self.count_bytes(len(line))
                if len(line) >= ROW_BYTES or line.count(b",") > ROW_VALUES:
                    self._skip_line(file, line)
                    self.report_bad_row(too_long(number), line[:RAW_CHARACTERS].decode("utf-8", "replace"))
                    continue
                if not line.strip():
                    continue
                try:
                    value = self._decode(line, number)
                except DataError as error:
                    self.report_bad_row(error.message, line[: 4 * RAW_CHARACTERS].decode("utf-8", "replace"))
                    continue
                yield number, value
        self.ended = not self.truncated

    def _skip_line(self, file: BinaryIO, start: bytes) -> None:
        """Read to the end of a line that began with `start`."""
        while not start.endswith(b"\n") and (start := file.readline(SNIFF_BYTES)):
            self.count_bytes(len(start))

    def _decode(self, data: bytes, line: int | None = None) -> Any:
        """The value of a JSON text. Raises `DataError` with the line of the error."""
        try:
            return msgspec.json.decode(data)
        except RecursionError:
            raise DataError(too_deep(line)) from None
        except UnicodeDecodeError:
            raise self.wrong_encoding(data) from None
        except msgspec.DecodeError as error:
            reason, at = str(error), line
            try:
                json.loads(data)  # slower, but reports the line
            except json.JSONDecodeError as precise:
                reason, at = precise.msg, line or precise.lineno
            except UnicodeDecodeError:
                raise self.wrong_encoding(data) from None
            except (ValueError, RecursionError):
                pass
        if at is None:
            raise DataError(say("This is not valid JSON: {reason}.", reason=reason)) from None
        raise DataError(say("Line {line} is not valid JSON: {reason}.", line=at, reason=reason)) from None

    def _stream(self, *, at_top: bool = False) -> Iterator[tuple[None, Any]]:
        """The rows of a large document one by one: all of them with `read_all`, else those in its head.

        `at_top`: it has objects one after the other instead of a list.
        """
        decoder, utf8 = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")("replace")
        with self.open() as file:
            # A block may end within a character: the decoder keeps the partial one.
            text = utf8.decode(file.read(HEAD_BYTES))
            position = text.index("{") if at_top else _first_row(text)
            while True:
                while position < len(text) and text[position] in " \t\r\n,":
                    position += 1
                if text[position : position + 1] == "]":
                    self.ended = True
                    break
                try:
                    value, end = decoder.raw_decode(text, position)
                except (ValueError, RecursionError) as error:
                    # The row is cut off here, or broken.
                    more = file.read(HEAD_BYTES) if self.read_all else b""
                    if more and len(text) - position <= ROW_BYTES:
                        text, position = text[position:] + utf8.decode(more), 0
                        continue
                    if not text[position:].strip():
                        self.ended = not self.truncated
                        break
                    if self.read_all:
                        reason = getattr(error, "msg", str(error))
                        message = say("After row {row} this is not valid JSON: {reason}.",
                                      row=self.rows_read, reason=reason)  # fmt: skip
                        raise DataError(message) from None
                    break
                self.count_bytes(len(text[position:end].encode("utf-8", "replace")) + 2)
                position = end
                yield None, value
        if not self.rows_read:
            raise DataError(say("No row was found in the first {count} MB.", count=HEAD_BYTES >> 20))


def _first_row(text: str) -> int:
    """The position of the first row of a JSON document, whose list is at the top or under a key."""
    if under_key := _LIST_UNDER_KEY.match(text):
        with suppress(ValueError, RecursionError):
            # A single object with a conversation is the only row.
            if is_turn(json.JSONDecoder().raw_decode(text, text.index("{", under_key.end()))[0]):
                return text.index("{")
        return under_key.end()
    start = text.lstrip()[:1]
    return text.index("{") if start == "{" else text.find("[") + 1


def _is_json(text: bytes) -> bool:
    """Whether this is a JSON object, list or text of its own."""
    if text.lstrip()[:1] not in (b"{", b"[", b'"'):
        return False
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _has_two_values(data: bytes) -> bool:
    """Whether a JSON text starts with an object or a list, and another follows it."""
    try:
        text = data.decode()
        start = len(text) - len(text.lstrip())
        if text[start : start + 1] != "{":
            return False
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return False
    return text[end:].lstrip()[:1] == "{"


def _list_in(document: Any) -> tuple[str, list[Any]]:
    """(key, rows) of a JSON document: the list itself with key "", or the list under one of its keys."""
    if is_conversation(document):
        return "", [document]
    if isinstance(document, list):
        return "", document
    if not isinstance(document, dict):
        return "", [document]
    columns = list(document.values())
    if (
        columns
        and all(isinstance(c, list) and len(c) == len(columns[0]) > 1 for c in columns)
        and not any(isinstance(cell, dict) for c in columns for cell in c)
    ):  # lists by column, as pandas writes them
        return "", [dict(zip(document, cells, strict=True)) for cells in zip(*columns, strict=True)]
    lists = {
        key: value
        for key, value in document.items()
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    }
    if any(map(is_conversation, lists.values())):  # a single object with a conversation is the only row
        return "", [document]
    if len(lists) > 1:
        raise DataError(say("This file has several lists of rows: {keys}. Keep one.", keys=", ".join(lists)))
    return next(iter(lists.items()), ("", [document]))
