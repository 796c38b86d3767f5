"""Opens a local dataset: a file, a folder, a glob pattern or a save_to_disk folder."""

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from engine.config.local_paths import PACKED_SUFFIXES, ROW_SUFFIXES, has_pattern, local_path
from engine.config.sources import Source, parse_split
from engine.dataset.json_files import JsonFile
from engine.dataset.limits import DataError, FolderSearch, is_file, open_regular, unreadable
from engine.dataset.row_file import Row, RowFile, missing_file, spreadsheet
from engine.dataset.table_files import ArrowFile, CsvFile, ParquetFile, TextFile
from engine.messages.message import Message, say

READERS: dict[str, type[RowFile]] = {
    ".json": JsonFile, ".jsonl": JsonFile, ".ndjson": JsonFile, ".csv": CsvFile, ".tsv": CsvFile,
    ".parquet": ParquetFile, ".arrow": ArrowFile, ".txt": TextFile,
}  # fmt: skip
_BY_CONTENT: dict[bytes, type[RowFile]] = {b"PAR1": ParquetFile, b"ARRO": ArrowFile}
MAX_FILES = 10_000
STATE_BYTES = 4 << 20  # of the state.json of a save_to_disk folder
SHEET_SUFFIXES = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
_TRAIN = re.compile(r"(^|[^a-z])train([^a-z]|$)", re.IGNORECASE)
_OTHER = re.compile(r"(^|[^a-z])(test|eval|evaluation|valid|validation|val|dev)([^a-z]|$)", re.IGNORECASE)
_SPLITS = {"validation": "valid|validation|val|dev", "test": "test|eval|evaluation"}


class ManyFiles(RowFile):
    """Several files read one after the other as one."""

    def __init__(self, files: list[RowFile]) -> None:
        self.files = files
        self.path, self.size = files[0].path, sum(file.size for file in files)
        self.on_bad_row, self.ended, self.look_ended = None, False, False
        self.limit_look(sys.maxsize, float("inf"))

    @property
    def rows_read(self) -> int:  # type: ignore[override]
        return sum(file.rows_read for file in self.files)

    @property
    def bytes_read(self) -> int:  # type: ignore[override]
        return sum(file.size if file.ended else file.bytes_read for file in self.files)

    @property
    def bytes_processed(self) -> int:
        return sum(file.bytes_processed for file in self.files)

    @property
    def total(self) -> int:
        known = sum(file.total for file in self.files if file.rows_read)
        read = sum(file.size for file in self.files if file.rows_read)
        return round(known * self.size / read) if read and not self.ended else known

    def rows(self) -> Iterator[Row]:
        for file in self.files:
            file.limit_look(self._most_bytes - self.bytes_processed, self._deadline - time.monotonic())
            if self.on_bad_row:
                before, report = self.rows_read, self.on_bad_row
                file.on_bad_row = lambda row, why, text, before=before, report=report: report(
                    before + row, why, text
                )
            try:
                yield from file.rows()
            except DataError as error:
                named = say("{file}: {reason}", file=file.path.name, reason=str(error.message))
                raise DataError(named, error.code) from None
            if file.look_ended:
                self.look_ended = True
                return
        self.ended = all(file.ended for file in self.files)


def open_source(source: Source, *, read_all: bool = False) -> RowFile:
    """The rows of a local source, before slicing. Raises `DataError` for the path or the split."""
    split = parse_split(source.split)
    files = find_files(source.path, split.split if split else "train")
    opened = [open_file(path, read_all=read_all, encoding=source.encoding) for path in files]
    return opened[0] if len(opened) == 1 else ManyFiles(opened)


def open_file(path: Path, *, read_all: bool = False, encoding: str = "auto") -> RowFile:
    """A data file with the reader for its content, or for its name if that does not tell. Raises `DataError`."""
    reader = reader_for(path)
    with suppress(OSError), open_regular(path) as file:
        reader = _BY_CONTENT.get(file.read(4), reader)
    if reader in (CsvFile, TextFile):
        json_file = JsonFile(path, read_all=read_all, encoding=encoding)
        if json_file.is_likely():
            return json_file
    return reader(path, read_all=read_all, encoding=encoding)


def slice_rows(file: RowFile, split: str) -> Iterator[tuple[int, Row]]:
    """(number from 1, row) of the rows in a slice. All rows if a bound needs the total (-10 or 10%)."""
    found = parse_split(split)
    bounds = [found.start, found.stop] if found else []
    numbered = ((file.rows_read, row) for row in file.rows())
    if found is None or found.whole or any(b and (b.endswith("%") or b.startswith("-")) for b in bounds):
        return numbered
    return islice(numbered, int(found.start or 0), found.known_stop)


def reader_for(path: Path) -> type[RowFile]:
    """The reader for a file by its suffix. Raises `DataError` for an unknown suffix."""
    name = path.name.lower()
    for packed in PACKED_SUFFIXES:
        name = name.removesuffix(packed)
    kind = READERS.get(os.path.splitext(name)[1])
    if name.endswith(SHEET_SUFFIXES):
        raise DataError(spreadsheet(), "dataset_unknown_type")
    if kind is None:
        raise DataError(
            say("The name of this file must end in one of these: {endings}.", endings=", ".join(ROW_SUFFIXES)),
            "dataset_unknown_type",
        )
    return kind


def find_files(name: str, split: str = "train") -> list[Path]:
    """The data files of a local path or pattern, in order. Raises `DataError` if there are none, or too many."""
    place = local_path(name)
    try:
        found = _find_files(name, place, split)
    except FileNotFoundError:
        raise DataError(missing_file(place), "dataset_missing") from None
    except (OSError, ValueError) as error:
        raise DataError(unreadable(error) if isinstance(error, OSError) else missing_file(place)) from None
    if len(found) > MAX_FILES:
        raise DataError(say("There are more than {count} data files here: name fewer.", count=MAX_FILES))
    return found


def _find_files(name: str, place: Path, split: str) -> list[Path]:
    if place.is_dir():
        return _files_in_folder(place, split)
    if not place.exists() and has_pattern(name):
        files = sorted(dict.fromkeys(islice(FolderSearch().matching(str(place)), MAX_FILES + 1)))
        if not files:
            raise DataError(say("No file matches {pattern}.", pattern=name), "dataset_missing")
        _only_train(split)
        return files
    os.stat(place)
    reader_for(place)
    _only_train(split)
    return [place]


def _only_train(split: str) -> None:
    if split != "train":
        message = say("A file has only the split train: write train, or train[:1000] for the first rows.")
        raise DataError(message, "split_missing")


def _files_in_folder(folder: Path, split: str) -> list[Path]:
    if (folder / "dataset_dict.json").is_file():
        names = [e.name for e in FolderSearch().entries(folder) if (folder / e.name / "state.json").is_file()]
        if split not in names:
            raise DataError(_no_split(split, names), "split_missing")
        folder = folder / split
    if (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file():
        return _save_to_disk_files(folder)
    search = FolderSearch()
    names = [entry.name for entry in search.entries(folder) if is_file(entry) and _is_data(entry.name)]
    if not names:  # subfolders only if the folder has none
        names = sorted(str(path.relative_to(folder)) for path in search.below(folder) if _is_data(path.name))
    if not names:
        raise DataError(say("There is no data file in this folder. Supported suffixes: {endings}.",
                            endings=", ".join(ROW_SUFFIXES)))  # fmt: skip
    train = [name for name in names if _TRAIN.search(name)] or [n for n in names if not _OTHER.search(n)]
    wanted = re.compile(rf"(^|[^a-z])({_SPLITS.get(split, re.escape(split))})([^a-z]|$)", re.IGNORECASE)
    found = train if split == "train" else [name for name in names if wanted.search(name)]
    if not found:
        raise DataError(_no_split(split, names), "split_missing")
    return [folder / name for name in found]


def _is_data(name: str) -> bool:
    if os.path.basename(name) in ("dataset_info.json", "state.json", "dataset_dict.json", "dataset_infos.json"):
        return False
    try:
        reader_for(Path(name))
    except DataError:
        return False
    return True


def _save_to_disk_files(folder: Path) -> list[Path]:
    """The files of a save_to_disk folder, in order."""
    try:
        with open_regular(folder / "state.json") as file:
            state: Any = msgspec.json.decode(file.read(STATE_BYTES))
        names = [os.path.basename(entry["filename"]) for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise DataError(say("The saved dataset cannot be read: {reason}.", reason=reason)) from None
    if not names:
        raise DataError(say("The saved dataset has no rows."), "dataset_empty")
    return [folder / name for name in names]


def _no_split(split: str, names: list[str]) -> Message:
    return say('There is no split "{split}" here. There are: {names}.', split=split, names=", ".join(names[:10]))
