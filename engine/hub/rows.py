"""The first rows of a file on the Hub, from its first bytes."""

from __future__ import annotations

import codecs
import io
import zlib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from engine.dataset.open_source import KINDS, kind_of
from engine.dataset.row_file import DataError, Remote, Row, RowFile, encoding_of
from engine.hub.errors import HubError
from engine.messages.message import Message, say

MOST_BYTES = 2 << 20  # read of a text file, at most
FIRST_BYTES = 128 << 10  # read of it at first
PARQUET_BLOCK = 128 << 10


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
    suffix = Path(path.lower().removesuffix(".gz")).suffix
    return suffix in KINDS and suffix != ".arrow"


def read_rows(files: Any, path: str, limit: int) -> HubRows:
    """The first `limit` rows at `path` of `files`, a file system as fsspec has them. Raises `HubError`."""
    found = _of_parquet if path.lower().endswith(".parquet") else _of_text
    return found(files, path, limit)


def _of_text(files: Any, path: str, limit: int) -> HubRows:
    wanted, data = FIRST_BYTES, b""
    with files.open(path, "rb", block_size=FIRST_BYTES, cache_type="none") as file:
        while True:
            data += file.read(min(wanted, MOST_BYTES) - len(data))
            text, ended = _unpacked(path, data, len(data) >= file.size)
            remote = Remote(lambda text=text: io.BytesIO(text), file.size, cut=not ended)  # type: ignore[misc]
            reader, rows, error = _read(path, remote, limit)
            if len(rows) >= limit or len(data) >= min(file.size, MOST_BYTES):
                return _found(reader, rows, error if ended else None, path, len(data))
            wanted = len(data) * 4


def _unpacked(path: str, data: bytes, ended: bool) -> tuple[bytes, bool]:
    """(the text that the first bytes of a file hold, whether that is all of it)."""
    if path.lower().endswith(".gz"):
        unpack = zlib.decompressobj(31)
        try:
            data = unpack.decompress(data, 4 * MOST_BYTES)
        except zlib.error:
            raise _unreadable(say("The file is not gzip, as its name says.")) from None
        ended = ended and unpack.eof
    if not ended:  # the last character may be cut in two: the decoder keeps it back
        encoding = encoding_of(data)
        decoder = codecs.getincrementaldecoder(encoding)("surrogateescape" if encoding == "utf-8" else "replace")
        data = decoder.decode(data).encode("utf-8", "surrogateescape")
    return data, ended


def _of_parquet(files: Any, path: str, limit: int) -> HubRows:
    """Of the first row group, by the pages that are needed alone."""
    with files.open(path, "rb", block_size=PARQUET_BLOCK, cache_type="blockcache") as file:
        counted: Any = _Counted(file)
        reader, rows, error = _read(path, Remote(lambda: counted, file.size), limit)
        return _found(reader, rows, error, path, counted.bytes_read)


def _read(path: str, remote: Remote, limit: int) -> tuple[RowFile | None, list[Row], Message | None]:
    """(the reader, the first rows, why there are no more): what is wrong further down, the engine will say."""
    rows: list[Row] = []
    reader = None
    try:
        reader = kind_of(Path(path))(Path(path), remote=remote)
        reader.on_bad = lambda row, why, text: None
        rows.extend(islice(reader.rows(), limit))
    except DataError as error:
        return reader, rows, error.message
    return reader, rows, None


def _found(reader: RowFile | None, rows: list[Row], error: Message | None, path: str, bytes_read: int) -> HubRows:
    if reader is None or not rows:
        raise _unreadable(error or say("No row was found at the start of {file}.", file=path.rpartition("/")[2]))
    total = reader.total if reader.knows_total else None
    return HubRows(tuple(dict.fromkeys(key for row in rows for key in row)), tuple(rows), path, bytes_read, total)


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
