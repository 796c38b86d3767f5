"""Looking at hostile data: it never raises, and is bounded in time, memory and files.

Each look runs in a process of its own with a limit on its memory, so that a look that is not bounded fails.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config.run_spec import DatasetSpec
from engine.dataset import limits
from engine.dataset.limits import DataError, FolderSearch, nested_deeper
from engine.dataset.open_source import find_files, open_file
from engine.dataset.peek import check_dataset, peek
from tests.helpers.dataset_cases import PAIR, QA
from tests.helpers.dataset_files import lines
from tests.helpers.engine_process import ROOT

pytestmark = pytest.mark.xdist_group("limits")  # the data is made, and looked at, once
MEMORY = 700 << 20  # beyond what Python and pyarrow have mapped at the start
SECONDS = 120  # for all of them; about 15 on an idle core
LOOK = """
import json, resource, sys, time
import pyarrow.parquet
from engine.config.run_spec import DatasetSpec
import engine.dataset.peek
engine.dataset.peek.LOOK_SECONDS = 0.5
from engine.dataset.peek import check_dataset, peek
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + int(sys.argv[1]),) * 2)
for path in sys.argv[2:]:
    for settings in ({}, {"drop_bad_rows": True}):
        started, data = time.monotonic(), DatasetSpec(path=path, **settings)
        seen, errors = peek(data.path, data=data), check_dataset(data)
        words = [str(one) for one in (seen.error, *(error.message for error in errors)) if one]
        print(json.dumps([path, words, seen.total, time.monotonic() - started]), flush=True)
"""


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What two looks at each hostile dataset report, in a process with little memory: (words, rows, seconds)."""
    paths = {}
    for number, (name, write) in enumerate(HOSTILE.items()):
        folder = tmp_path_factory.mktemp(f"hostile{number}")
        paths[str(write(folder))] = name
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(MEMORY), *paths], cwd=ROOT, capture_output=True, text=True,
        timeout=SECONDS, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    found: dict[str, list[Any]] = {"": [done.stderr[-2000:]]}
    for line in done.stdout.splitlines():
        path, *seen = json.loads(line)
        found.setdefault(paths[path], []).append(seen)
    return found


def packed(path: Path, block: bytes, times: int, start: bytes = b"") -> Path:
    """A gzip file of many equal blocks, each packed once: gzip members may follow each other."""
    path.write_bytes((gzip.compress(start) if start else b"") + gzip.compress(block, 9) * times)
    return path


def parquet_of(path: Path, values: list[object], times: int = 1) -> Path:
    """A Parquet file of these values, all of them several times, which takes next to no space."""
    import pyarrow
    import pyarrow.parquet

    column = pyarrow.array(values)
    if times > 1:
        column = pyarrow.DictionaryArray.from_arrays(list(range(len(values))) * times, column)
    table = pyarrow.table({"text": column})
    pyarrow.parquet.write_table(table, path, compression="zstd", store_schema=False)
    return path


MEGABYTE, ROW = 1 << 20, lines([PAIR]).encode()
HOSTILE: dict[str, Callable[[Path], Path]] = {
    "a gz of one endless line.txt": lambda at: packed(at / "d.txt.gz", b"x" * (16 * MEGABYTE), 200),
    "a gz of one endless line.csv": lambda at: packed(at / "d.csv.gz", b"x" * (16 * MEGABYTE), 200, b"a,b\n"),
    "a gz of one endless line.jsonl": lambda at: packed(at / "d.jsonl.gz", b" " * (16 * MEGABYTE), 200, b"{"),
    "a gz of one endless text.json": lambda at: packed(at / "d.json.gz", b"x" * (16 * MEGABYTE), 200, b'[{"a": "'),
    "a gz of zeros": lambda at: packed(at / "d.jsonl.gz", b"\0" * (16 * MEGABYTE), 200),
    "a gz of blank lines": lambda at: packed(at / "d.jsonl.gz", b"\n" * (4 * MEGABYTE), 800, ROW),
    "a gz of broken lines": lambda at: packed(at / "d.jsonl.gz", b"{\n" * MEGABYTE, 800, ROW),
    "one cell": lambda at: packed(at / "d.csv.gz", b"y" * (16 * MEGABYTE), 200, b'a,b\n1,"'),
    "one cell of many lines": lambda at: packed(at / "d.csv.gz", b"y\n" * MEGABYTE, 800, b'a,b\n1,"'),
    "one row of many cells": lambda at: packed(at / "d.csv.gz", b'"y",' * MEGABYTE, 400, b"a,b\n"),
    "one paragraph": lambda at: packed(at / "d.txt.gz", b"y\n" * MEGABYTE, 800, b"a\n\nb\n\n"),
    "a row of empty lists": lambda at: packed(at / "d.jsonl.gz", b"[]," * MEGABYTE, 300, b'{"a": ['),
    "a document of empty lists": lambda at: packed(at / "d.json.gz", b"[]," * MEGABYTE, 10, b"["),
    "a Parquet file of one long text": lambda at: parquet_of(at / "d.parquet", ["x" * (70 * MEGABYTE)]),
    "a Parquet file of one text many times": lambda at: parquet_of(at / "d.parquet", ["x" * (40 * MEGABYTE)], 64),
    "a Parquet file of one list": lambda at: parquet_of(at / "d.parquet", [[None] * (5 * MEGABYTE)]),
    "deep JSON": lambda at: _put(at / "d.json", b"[" * 200_000),
    "deep rows": lambda at: _put(at / "d.jsonl", b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}\n"),
    "deep text in a row": lambda at: _put(
        at / "d.jsonl", json.dumps({"messages": "[" * 5000 + "]" * 5000}).encode() + b"\n"
    ),
    "a long number": lambda at: _put(at / "d.json", b'[{"a": ' + b"9" * 100_000 + b"}]"),
}  # fmt: skip


def _put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_a_look_at_hostile_data_is_bounded(name: str, looks: dict[str, list[Any]]) -> None:
    """A 13.7 MB .gz took 6 GB, a 1.3 KB Parquet file 3.2 GB, a CSV file with one cell of 2 GB 4 GB."""
    assert len(looks.get(name, [])) == 2, looks[""]
    for words, rows, seconds in looks[name]:
        assert words or rows  # it is told in words, or rows were found
        assert not any("memory" in one.lower() or "data cannot be read" in one for one in words)
        assert seconds < 3 * limits.LOOK_SECONDS


def within(seconds: float, action: Callable[[], object]) -> None:
    """Runs an action in a thread, which may never end."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive()


@pytest.mark.parametrize("path", ["pipe.jsonl", "zero.jsonl", "pipe.parquet"])
def test_a_pipe_or_a_device_is_no_dataset(path: str, tmp_path: Path) -> None:
    """A FIFO or a device hung `loris run` for good."""
    place = tmp_path / path
    os.mkfifo(place) if path.startswith("pipe") else place.symlink_to("/dev/zero")
    found: list[str] = []
    within(5, lambda: found.append(str(check_dataset(DatasetSpec(path=str(place)))[0].message)))
    assert "device, a pipe" in found[0]
    (tmp_path / "good.jsonl").write_text(lines([QA]))
    assert find_files(str(tmp_path)) == [tmp_path / "good.jsonl"]  # in a folder they are passed over


@pytest.mark.parametrize("path", ["/", "/proc", "/**/*.jsonl", "/proc/*/fd/*.json"])
def test_a_look_at_the_whole_machine_ends(path: str) -> None:
    """`/` typed as dataset ended the wizard."""
    started = time.monotonic()
    assert peek(path)
    check_dataset(DatasetSpec(path=path))
    assert time.monotonic() - started < 3 * limits.LOOK_SECONDS


def test_a_search_of_too_many_files_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FOLDER_ENTRIES", 10)
    for number in range(11):
        (tmp_path / f"{number}.jpg").touch()
    (tmp_path / "sub").mkdir()
    [error] = check_dataset(DatasetSpec(path=str(tmp_path)))
    assert "too many files" in str(error.message)


def test_folders_that_change_meanwhile_are_no_error(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / "a" / str(number)).mkdir(parents=True)
        (tmp_path / "a" / str(number) / "d.jsonl").write_text(lines([QA]))
    remove = threading.Thread(target=shutil.rmtree, args=(tmp_path / "a",))
    remove.start()
    for _ in range(50):
        peek(str(tmp_path))
        check_dataset(DatasetSpec(path=str(tmp_path)))
    remove.join()


def test_the_search_matches_as_glob_does(tmp_path: Path) -> None:
    import glob

    for name in ("a/x.json", "a/b/y.json", "a/b/.h/z.json", ".g/w.json", "a/b/c.txt", "x[1].json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for pattern in ("*.json", "**/*.json", "a/*/?.json", "a/**", "*/*.json", "a/b/[xy].json", "nothing/*"):
        expected = {Path(p) for p in glob.glob(str(tmp_path / pattern), recursive=True) if Path(p).is_file()}
        assert set(FolderSearch().matching(str(tmp_path / pattern))) == expected


@pytest.mark.parametrize(
    "state",
    [b'{"_data_files": []}', b"{}", b"[]", b'{"_data_files": [5]}', b'{"_data_files": 5}', b"[" * 9999, b"\xff",
     b'{"_data_files": [{"filename": "../../secret.arrow"}]}', b'{"_data_files": [{"filename": 5}]}'],
)  # fmt: skip
def test_a_broken_save_to_disk_folder_is_an_error_in_words(state: bytes, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(state)
    (tmp_path / "dataset_info.json").write_text("{}")
    [error] = check_dataset(DatasetSpec(path=str(tmp_path)))
    assert error.field == "dataset.path"
    assert peek(str(tmp_path)).error


def test_rows_are_limited_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is too long or too deep is a bad row: the others can be used."""
    monkeypatch.setattr("engine.dataset.json_files.ROW_BYTES", 1000)
    deep: object = "x"
    for _ in range(200):
        deep = [deep]
    rows = [QA, {"question": "x" * 2000, "answer": "a"}, QA, {"question": deep, "answer": "a"}, QA]
    (tmp_path / "d.jsonl").write_text(lines(rows))
    file = open_file(tmp_path / "d.jsonl")
    bad: list[tuple[int, str]] = []
    file.on_bad_row = lambda row, why, text: bad.append((row, str(why)))
    assert list(file.rows()) == [QA] * 3
    assert [row for row, _ in bad] == [2, 4]
    assert "too long" in bad[0][1]
    assert "nested deeper" in bad[1][1]
    with pytest.raises(DataError, match="too long"):
        list(open_file(tmp_path / "d.jsonl").rows())


def test_depth_is_measured_without_recursion_errors() -> None:
    deep: object = "x"
    for _ in range(100_000):
        deep = [deep]
    assert nested_deeper(deep)
    assert not nested_deeper([{"a": [1]}], 3)
    assert nested_deeper([{"a": [1]}], 2)


def test_a_reader_that_fails_is_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise MemoryError("out of it")

    (tmp_path / "d.jsonl").write_text(lines([QA]))
    monkeypatch.setattr("engine.dataset.peek.open_source", fail)
    assert "out of it" in str(peek(str(tmp_path / "d.jsonl")).error)
    assert "out of it" in str(check_dataset(DatasetSpec(path=str(tmp_path / "d.jsonl")))[0].message)
