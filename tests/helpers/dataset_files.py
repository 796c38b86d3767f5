"""Writes data files of every format that Loris reads, for tests."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]


def file(name: str, content: str | bytes) -> Callable[[Path], None]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: _put(folder / name, data)


def files(contents: dict[str, str]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name, content in contents.items():
            _put(folder / name, content.encode())

    return write


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def table(rows: Rows, delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def parquet(name: str, rows: Rows) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / name)

    return write


def arrow(name: str, rows: Rows, stream: bool) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        import pyarrow

        found = pyarrow.Table.from_pylist(rows)
        new = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
        with new(str(folder / name), found.schema) as writer:
            writer.write_table(found)

    return write


def saved_to_disk(rows: Rows, splits: tuple[str, ...] = ()) -> Callable[[Path], None]:
    """A folder as `Dataset.save_to_disk` writes it."""

    def write(folder: Path) -> None:
        from datasets import Dataset, DatasetDict

        data = Dataset.from_list(rows)
        if splits:
            DatasetDict(dict.fromkeys(splits, data)).save_to_disk(str(folder / "saved"))
        else:
            data.save_to_disk(str(folder / "saved"))

    return write


def zst(data: bytes) -> bytes:
    import pyarrow

    packed: bytes = pyarrow.compress(data, codec="zstd", asbytes=True)
    return packed


def duplicate_columns_parquet(folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    both = pyarrow.Table.from_arrays([pyarrow.array(["q"]), pyarrow.array(["a"])], names=["output", "output"])
    pyarrow.parquet.write_table(both, folder / "d.parquet")
