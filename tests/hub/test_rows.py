"""The preview of a file on the Hub has the same rows as the local file, however little of it is fetched."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from engine.dataset.open_source import reader_for
from engine.dataset.row_file import DataError
from engine.dataset.table_files import CsvFile, TextFile
from engine.hub import rows as hub_rows
from engine.hub.errors import HubError
from engine.hub.rows import HubRows, can_read, read_rows
from tests.helpers.dataset_cases import CASES, Case
from tests.helpers.dataset_files import lines

LIMIT = 1000
TURNS = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "🦥"}]
ROWS = [{"instruction": f"问题 {n} 🦥", "output": "答" * (n % 40) + "\n,\t\"'", "number": n} for n in range(300)]


def local(path: Path) -> list[dict[str, Any]] | str:
    """The rows without bad ones, or the error message if there are none."""
    rows = []
    try:
        file = reader_for(path)(path)
        file.on_bad_row = lambda row, why, text: None
        rows.extend(file.rows())
    except DataError as error:
        return rows or str(error.message)
    return rows


def remote(path: Path) -> HubRows:
    return read_rows(LocalFileSystem(), str(path), LIMIT)


def by_paragraph(path: Path) -> bool:
    if reader_for(path) is not TextFile:
        return False
    with TextFile(path).open() as file:
        return b"\n\n" in file.read()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_same_rows_as_the_local_file(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path)
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file() and can_read(path.name)):
        if by_paragraph(path):
            continue  # on the Hub a row is a line, as in `datasets`
        expected = local(path)
        if expected and isinstance(expected, list):
            assert list(remote(path).rows) == expected, path.name
        else:
            with pytest.raises(HubError):
                remote(path)


def test_the_cases_cover_every_suffix() -> None:
    names = [case.path.lower() for case in CASES]
    for suffix in (".json", ".jsonl", ".csv", ".tsv", ".txt", ".parquet", ".gz"):
        assert any(name.endswith(suffix) for name in names), suffix


def table(delimiter: str) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", lines(ROWS).encode()),
        ("a.jsonl", lines(ROWS).encode("utf-16")),
        ("lines.json", lines(ROWS).encode()),
        ("a.json", json.dumps(ROWS, ensure_ascii=False).encode()),
        ("indented.json", json.dumps(ROWS, ensure_ascii=False, indent=1).encode()),
        ("key.json", json.dumps({"version": "1", "data": ROWS}, ensure_ascii=False).encode()),
        ("one.json", json.dumps({"messages": TURNS * 200}, ensure_ascii=False).encode()),
        ("a.csv", table(",").encode()),
        ("bom.csv", table(",").encode("utf-8-sig")),
        ("a.tsv", table("\t").encode()),
        ("a.txt", "".join(f"第 {n} 行 🦥\n" for n in range(900)).encode()),
        ("a.jsonl.gz", gzip.compress(lines(ROWS).encode(), 0)),
    ],
    ids=["jsonl", "utf16", "lines-json", "json", "indented", "key", "one", "csv", "bom", "tsv", "txt", "gz"],
)
def test_a_truncated_file_gives_complete_rows_only(
    name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    expected = local(path)
    assert isinstance(expected, list)
    counts = set()
    cuts = {len(content) * tenth // 10 + bytes for tenth in range(1, 10) for bytes in range(5)}
    for cut in sorted(cuts | {50, len(content) - 1}):
        monkeypatch.setattr(hub_rows, "MAX_BYTES", cut)
        try:
            found = remote(path)
        except HubError:
            counts.add(0)
            continue
        assert list(found.rows) == expected[: len(found.rows)], cut
        assert found.total in (None, len(expected))  # the list can end before the file
        counts.add(len(found.rows))
    # Nearly all fetched rows are returned: without the last byte of the file, all but the last row.
    assert max(counts) >= len(expected) - 1
    assert len(expected) == 1 or len(counts) > 5


@pytest.mark.parametrize(
    "text", ['{"a":' + " " * 2_000_000, '{"a":1,' * 200_000, '{"' + "\\" * 2_000_000, "{" * 500_000]
)
@pytest.mark.timeout(30)
def test_parsing_the_start_of_a_file_is_fast(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text + "x" * hub_rows.MAX_BYTES)
    with pytest.raises(HubError):
        remote(path)


def test_the_cut_last_row_of_a_table_is_dropped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In CSV and text, half a row looks complete: without the rule that drops it, it is returned."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"q,a\n1,one\n2,two\n")
    monkeypatch.setattr(hub_rows, "MAX_BYTES", 13)
    assert remote(path).rows == ({"q": "1", "a": "one"},)
    monkeypatch.setattr(CsvFile, "_cut_row_looks_complete", False)
    assert remote(path).rows[-1] == {"q": "2", "a": "t"}
    assert TextFile._cut_row_looks_complete
