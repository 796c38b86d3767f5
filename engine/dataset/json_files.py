"""Reads JSON and JSONL files.

Memory is bounded: JSONL is read line by line; a JSON document is parsed at once if it is small, else streamed.
"""

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from engine.dataset.row_file import SNIFF_BYTES, UNPACK_ERRORS, DataError, RemoteFile, RowFile, not_utf8
from engine.dataset.turns import is_conversation, is_turn
from engine.messages.message import say

MAX_DOCUMENT_BYTES = 32 << 20  # a JSON document up to this size is parsed at once, in about half a second
HEAD_BYTES = 4 << 20  # how much of a larger one is read without `read_all`, and the block size with it
LINE_BYTES = 16 << 20  # a longer row is rejected
LINES_NAME = re.compile(r"\.(jsonl|ndjson)(\.\w+)?$", re.IGNORECASE)
# An object up to its first list of objects, with only plain values before it. Possessive: never backtracks.
_TEXT = r'"(?:[^"\\]++|\\.)*+"'
_LIST_UNDER_KEY = re.compile(
    rf"\s*+\{{(?:\s*+{_TEXT}\s*+:\s*+(?:{_TEXT}|[^\[\]{{}}\",]++)\s*+,)*+\s*+{_TEXT}\s*+:\s*+\[(?=\s*+\{{)"
)


class JsonFile(RowFile):
    """A JSON or JSONL file. `shape`: one row per line, or one document."""

    def __init__(self, path: Path, *, read_all: bool = False, remote: RemoteFile | None = None) -> None:
        super().__init__(path, read_all=read_all, remote=remote)
        self.shape = self._shape()

    def _shape(self) -> Literal["lines", "document"]:
        """The shape by the first lines; a file named .jsonl or .ndjson always has lines."""
        if LINES_NAME.search(self.path.name):
            return "lines"
        try:
            with self.open() as file:
                first, second = self._line(file, HEAD_BYTES), self._line(file, SNIFF_BYTES)
        except UnicodeDecodeError:
            raise DataError(not_utf8()) from None
        except (*UNPACK_ERRORS, OSError):
            return "document"  # reading it reports what is wrong
        if not first.lstrip().startswith(b"{"):
            return "document"
        # An object: the first of many, one per line, or the only one, with the rows under one of its keys.
        try:
            msgspec.json.decode(first)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "document"
        return "lines" if second.strip() else "document"

    @staticmethod
    def _line(file: BinaryIO, limit: int) -> bytes:
        """The next non-blank line, at most `limit` bytes of it."""
        while line := file.readline(limit):
            if line.strip(b" \t\r\n"):
                break
        return line

    def values(self) -> Iterator[tuple[int | None, Any]]:
        if self.shape == "lines":
            yield from self._lines()
            return
        with self.open() as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
        if self.truncated or len(data) > MAX_DOCUMENT_BYTES:
            yield from self._stream()
            return
        _, values = _list_in(_decode(data))
        for number, value in enumerate(values, 1):
            self.bytes_read = self.size * number // len(values)
            yield None, value
        self.ended = True

    def _lines(self) -> Iterator[tuple[int, Any]]:
        with self.open() as file:
            number = 0
            while line := file.readline(LINE_BYTES):
                number += 1
                self.count_bytes(len(line))
                if len(line) >= LINE_BYTES:
                    raise DataError(say("Line {line} is too long for one example.", line=number))
                if not line.strip():
                    continue
                try:
                    value = _decode(line, number)
                except DataError as error:
                    self.report_bad_row(error.message, line.decode("utf-8", "replace"))
                    continue
                yield number, value
        self.ended = not self.truncated

    def _stream(self) -> Iterator[tuple[None, Any]]:
        """The rows of a large document one by one: all of them with `read_all`, else those in its head."""
        decoder, utf8 = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")("replace")
        with self.open() as file:
            # A block may end within a character: the decoder keeps the partial one.
            text = utf8.decode(file.read(HEAD_BYTES))
            position = _first_row(text)
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
                    if more and len(text) - position <= LINE_BYTES:
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


def _decode(data: bytes, line: int | None = None) -> Any:
    """The value of a JSON text. Raises `DataError` with the line of the error."""
    try:
        return msgspec.json.decode(data)
    except UnicodeDecodeError:
        raise DataError(not_utf8()) from None
    except (msgspec.DecodeError, RecursionError) as error:
        reason, at = str(error), line
        try:
            json.loads(data)  # slower, but reports the line
        except json.JSONDecodeError as precise:
            reason, at = precise.msg, line or precise.lineno
        except UnicodeDecodeError:
            raise DataError(not_utf8()) from None
        except (ValueError, RecursionError):
            pass
        if at is None:
            raise DataError(say("This is not valid JSON: {reason}.", reason=reason)) from None
        raise DataError(say("Line {line} is not valid JSON: {reason}.", line=at, reason=reason)) from None


def _list_in(document: Any) -> tuple[str, list[Any]]:
    """(key, rows) of a JSON document: the list itself with key "", or the list under one of its keys."""
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
    if len(lists) > 1:
        raise DataError(say("This file has several lists of rows: {keys}. Keep one.", keys=", ".join(lists)))
    # A single object with a conversation is the only row.
    return next(((key, rows) for key, rows in lists.items() if not is_conversation(rows)), ("", [document]))
