"""Reads the first rows of a file on the Hub from its first bytes."""

import codecs
import io
import zlib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from engine.dataset.encodings import encoding_of
from engine.dataset.limits import DataError
from engine.dataset.open_source import READERS, reader_for
from engine.dataset.row_file import RemoteFile, Row, RowFile
from engine.hub.errors import HubError
from engine.messages.message import Message, say

MAX_BYTES = 2 << 20  # of a text file are read at most
FIRST_BYTES = 128 << 10  # are read first
PARQUET_BLOCK = 128 << 10


def _unreadable(why: Message) -> HubError:
    return HubError("hub_unreadable", why)


@dataclass(frozen=True)
class HubRows:
    """The first rows of a dataset. `file`: its path; `total`: rows in the file, None if unknown."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    file: str
    bytes_read: int
    total: int | None = None


def can_read(path: str) -> bool:
    """Whether a file can be read, by its suffix."""
    suffix = Path(path.lower().removesuffix(".gz")).suffix
    return suffix in READERS and suffix != ".arrow"


def read_rows(files: Any, path: str, limit: int) -> HubRows:
    """The first `limit` rows at `path` of `files`, an fsspec file system. Raises `HubError`."""
    read = _read_parquet if path.lower().endswith(".parquet") else _read_text
    return read(files, path, limit)


def _read_text(files: Any, path: str, limit: int) -> HubRows:
    wanted, data = FIRST_BYTES, b""
    with files.open(path, "rb", block_size=FIRST_BYTES, cache_type="none") as file:
        while True:
            data += file.read(min(wanted, MAX_BYTES) - len(data))
            text, ended = _decode_start(path, data, len(data) >= file.size)
            remote = RemoteFile(lambda text=text: io.BytesIO(text), file.size, truncated=not ended)  # type: ignore[misc]
            reader, rows, error = _read_with(path, remote, limit)
            if len(rows) >= limit or len(data) >= min(file.size, MAX_BYTES):
                return _as_hub_rows(reader, rows, error if ended else None, path, len(data))
            wanted = len(data) * 4


def _decode_start(path: str, data: bytes, ended: bool) -> tuple[bytes, bool]:
    """(the decompressed UTF-8 text of the first bytes, whether that is the complete file)."""
    if path.lower().endswith(".gz") or data.startswith(b"\x1f\x8b"):
        unpack = zlib.decompressobj(31)
        try:
            data = unpack.decompress(data, 4 * MAX_BYTES)
        except zlib.error:
            raise _unreadable(say("The file name ends in .gz, but the file is not gzip.")) from None
        ended = ended and unpack.eof
    if not ended:  # the last character may be incomplete: the decoder drops it
        encoding = encoding_of(data)
        decoder = codecs.getincrementaldecoder(encoding)("surrogateescape" if encoding == "utf-8" else "replace")
        data = decoder.decode(data).encode("utf-8", "surrogateescape")
    return data, ended


def _read_parquet(files: Any, path: str, limit: int) -> HubRows:
    """Reads only the needed pages of the first row group."""
    with files.open(path, "rb", block_size=PARQUET_BLOCK, cache_type="blockcache") as file:
        counted: Any = _CountingFile(file)
        reader, rows, error = _read_with(path, RemoteFile(lambda: counted, file.size), limit)
        return _as_hub_rows(reader, rows, error, path, counted.bytes_read)


def _read_with(path: str, remote: RemoteFile, limit: int) -> tuple[RowFile | None, list[Row], Message | None]:
    """(the reader, the first rows, why there are no more). Later errors are reported by the engine."""
    rows: list[Row] = []
    reader = None
    try:
        reader = reader_for(Path(path))(Path(path), remote=remote)
        reader.on_bad_row = lambda row, why, text: None
        rows.extend(islice(reader.rows(), limit))
    except DataError as error:
        return reader, rows, error.message
    return reader, rows, None


def _as_hub_rows(
    reader: RowFile | None, rows: list[Row], error: Message | None, path: str, bytes_read: int
) -> HubRows:
    if reader is None or not rows:
        raise _unreadable(error or say("No row was found at the start of {file}.", file=path.rpartition("/")[2]))
    total = reader.total if reader.is_total_exact else None
    return HubRows(tuple(dict.fromkeys(key for row in rows for key in row)), tuple(rows), path, bytes_read, total)


class _CountingFile:
    """A file that counts the bytes read."""

    def __init__(self, file: Any) -> None:
        self._file, self.bytes_read = file, 0

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._file.read(size)
        self.bytes_read += len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
