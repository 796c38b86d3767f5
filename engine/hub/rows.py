"""The first rows of a file on the Hub, from its first bytes."""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from engine.dataset.turns import is_turn
from engine.hub.errors import HubError
from engine.messages.message import Message, say

MOST_BYTES = 2 << 20  # read of a text file, at most
FIRST_BYTES = 128 << 10  # read of it at first
PARQUET_BLOCK = 128 << 10
CELL_CHARACTERS = 1 << 24
_LIST = re.compile(r'\s*\{(?:\s*"[^"]*"\s*:\s*(?:"[^"]*"|[^\[\]{}",]+)\s*,)*\s*"[^"]*"\s*:\s*(?=\[\s*\{)')

Row = dict[str, Any]


def _unreadable(why: Message) -> HubError:
    return HubError("hub_unreadable", why)


@dataclass(frozen=True)
class HubRows:
    """Rows as found, with values as JSON has them. `file`: where they are from; `total`: None if not known."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    file: str
    bytes_read: int
    total: int | None = None


def can_read(path: str) -> bool:
    """Whether the name of a file says that it holds rows of a kind that is read here."""
    return _kind(path)[0] in KINDS or _kind(path)[0] == "parquet"


def _kind(path: str) -> tuple[str, bool]:
    """(the ending that tells the kind of a file, whether it is compressed)."""
    name = path.lower()
    packed = name.endswith(".gz")
    return name.removesuffix(".gz").rpartition(".")[2], packed


def read_rows(files: Any, path: str, limit: int) -> HubRows:
    """The first `limit` rows at `path` of `files`, a file system as fsspec has them. Raises `HubError`."""
    kind, packed = _kind(path)
    if kind == "parquet":
        return _parquet(files, path, limit)
    parse = KINDS[kind]
    wanted = FIRST_BYTES
    with files.open(path, "rb", block_size=FIRST_BYTES, cache_type="none") as file:
        data = b""
        while True:
            data += file.read(min(wanted, MOST_BYTES) - len(data))
            ended = len(data) >= file.size
            text, whole = _text(data, packed, ended)
            rows = parse(text, whole, limit)
            if len(rows) >= limit or ended or len(data) >= MOST_BYTES:
                break
            wanted = min(len(data) * 4, MOST_BYTES)
    if not rows:
        raise _unreadable(say("No row was found at the start of {file}.", file=path.rpartition("/")[2]))
    total = len(rows) if ended and len(rows) < limit else None
    return HubRows(tuple(dict.fromkeys(key for row in rows for key in row)), tuple(rows), path, len(data), total)


def _text(data: bytes, packed: bool, ended: bool) -> tuple[str, bool]:
    """(the text that the first bytes of a file hold, whether that is all of it)."""
    if packed:
        unpack = zlib.decompressobj(31)
        try:
            data = unpack.decompress(data, 4 * MOST_BYTES)
        except zlib.error:
            raise _unreadable(say("The file is not gzip, as its name says.")) from None
        ended = ended and unpack.eof
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = data.decode(encoding, "replace")
    return (text if ended else text.removesuffix("\ufffd")), ended


def _json_lines(text: str, whole: bool, limit: int) -> list[Row]:
    """Of JSONL; and of a JSON document, whose rows are in a list, at the top or under a key."""
    start = text.lstrip()[:1]
    if start == "[":
        return _json_list(text, text.index("[") + 1, limit)
    if under_key := _LIST.match(text):
        rows = _json_list(text, text.index("[", under_key.end()) + 1, limit)
        # A lone conversation is a row, not a list of them.
        return _json_list(text, text.index("{"), 1) if rows and is_turn(rows[0]) else rows
    rows = []
    lines = text.splitlines() if whole else text.splitlines()[:-1]
    for line in lines:
        if line.strip():
            try:
                value = json.loads(line)
            except ValueError:
                break  # an object over several lines, or a broken file: the engine will say
            rows.append(value if isinstance(value, dict) else {"value": value})
        if len(rows) >= limit:
            break
    if not rows and start == "{":  # one object, over several lines
        return _json_list(text, text.index("{"), 1)
    return rows


def _json_list(text: str, at: int, limit: int) -> list[Row]:
    """The objects of a list that begins before `at`, as far as they are all there."""
    decode = json.JSONDecoder().raw_decode
    rows: list[Row] = []
    while len(rows) < limit:
        while at < len(text) and (text[at].isspace() or text[at] == ","):
            at += 1
        try:
            value, at = decode(text, at)
        except ValueError:
            break
        rows.append(value if isinstance(value, dict) else {"value": value})
    return rows


def _table(delimiter: str) -> Callable[[str, bool, int], list[Row]]:
    def parse(text: str, whole: bool, limit: int) -> list[Row]:
        csv.field_size_limit(CELL_CHARACTERS)
        rows: list[Row] = []
        try:
            for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter):
                row.pop(None, None)
                rows.append(dict(row))
                if len(rows) > limit:
                    break
        except csv.Error:
            pass
        return rows[:limit] if whole or len(rows) > limit else rows[:-1]  # the last may be cut

    return parse


def _lines(text: str, whole: bool, limit: int) -> list[Row]:
    lines = text.splitlines() if whole else text.splitlines()[:-1]
    return [{"text": line} for line in lines[:limit]]


def _parquet(files: Any, path: str, limit: int) -> HubRows:
    """Of the first row group, by the pages that are needed alone."""
    parquet: Any = import_module("pyarrow.parquet")
    with files.open(path, "rb", block_size=PARQUET_BLOCK, cache_type="blockcache") as file:
        counted = _Counted(file)
        try:
            with parquet.ParquetFile(counted, buffer_size=PARQUET_BLOCK // 4, pre_buffer=False) as table:
                total = table.metadata.num_rows
                columns = tuple(table.schema_arrow.names)
                batch = next(table.iter_batches(batch_size=limit), None)
                rows = batch.to_pylist() if batch is not None else []
        except import_module("pyarrow").ArrowInvalid as error:
            reason = str(error).splitlines()[0]
            raise _unreadable(say("This is not a Parquet file: {reason}.", reason=reason)) from None
    if not rows:
        raise _unreadable(say("No row was found at the start of {file}.", file=path.rpartition("/")[2]))
    return HubRows(columns, tuple(rows[:limit]), path, counted.bytes_read, total)


class _Counted:
    """A file that knows how much of it was asked for."""

    def __init__(self, file: Any) -> None:
        self._file, self.bytes_read = file, 0

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._file.read(size)
        self.bytes_read += len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


KINDS: dict[str, Callable[[str, bool, int], list[Row]]] = {
    "json": _json_lines, "jsonl": _json_lines, "ndjson": _json_lines,
    "csv": _table(","), "tsv": _table("\t"), "txt": _lines,
}  # fmt: skip
