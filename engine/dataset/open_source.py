"""Opens a local dataset: a file, a folder, a glob pattern or a save_to_disk folder."""

import glob
import json
import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from engine.config.local_paths import PACKED_SUFFIXES, ROW_SUFFIXES, has_pattern, local_path
from engine.config.sources import Source, parse_split
from engine.dataset.json_files import JsonFile
from engine.dataset.row_file import DataError, Row, RowFile, missing_file, unreadable
from engine.dataset.table_files import ArrowFile, CsvFile, ParquetFile, TextFile
from engine.messages.message import Message, say

READERS: dict[str, type[RowFile]] = {
    ".json": JsonFile, ".jsonl": JsonFile, ".ndjson": JsonFile, ".csv": CsvFile, ".tsv": CsvFile,
    ".parquet": ParquetFile, ".arrow": ArrowFile, ".txt": TextFile,
}  # fmt: skip
MAX_FILES = 10_000
_TRAIN = re.compile(r"(^|[^a-z])train([^a-z]|$)", re.IGNORECASE)
_OTHER = re.compile(r"(^|[^a-z])(test|eval|evaluation|valid|validation|val|dev)([^a-z]|$)", re.IGNORECASE)
_SPLITS = {"validation": "valid|validation|val|dev", "test": "test|eval|evaluation"}


class ManyFiles(RowFile):
    """Several files read one after the other as one."""

    def __init__(self, files: list[RowFile]) -> None:
        self.files = files
        self.path, self.size = files[0].path, sum(file.size for file in files)
        self.on_bad_row, self.ended, self._at = None, False, 0

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
            if self.on_bad_row:
                before, report = self.rows_read, self.on_bad_row
                file.on_bad_row = lambda row, why, text, before=before, report=report: report(
                    before + row, why, text
                )
            try:
                yield from file.rows()
            except DataError as error:
                named = say("{file}: {reason}", file=file.path.name, reason=str(error.message))
                raise DataError(named) from None
        self.ended = all(file.ended for file in self.files)


def open_source(source: Source, *, read_all: bool = False) -> RowFile:
    """The rows of a local source, before slicing. Raises `DataError` for the path or the split."""
    split = parse_split(source.split)
    files = find_files(source.path, split.split if split else "train")
    opened = [reader_for(path)(path, read_all=read_all) for path in files]
    return opened[0] if len(opened) == 1 else ManyFiles(opened)


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
    if kind is None:
        raise DataError(
            say("The name of this file must end in one of these: {endings}.", endings=", ".join(ROW_SUFFIXES)),
            "dataset_unknown_type",
        )
    return kind


def find_files(name: str, split: str = "train") -> list[Path]:
    """The data files of a local path or pattern, in order. Raises `DataError` if there are none."""
    place = local_path(name)
    if place.is_dir():
        return _files_in_folder(place, split)
    if not place.exists() and has_pattern(name):
        found = sorted(Path(p) for p in islice(glob.iglob(str(place), recursive=True), MAX_FILES))
        files = [path for path in found if path.is_file()]
        if not files:
            raise DataError(say("No file matches {pattern}.", pattern=name), "dataset_missing")
        _only_train(split)
        return files
    try:
        os.stat(place)
    except FileNotFoundError:
        raise DataError(missing_file(place), "dataset_missing") from None
    except (OSError, ValueError) as error:
        raise DataError(unreadable(error) if isinstance(error, OSError) else missing_file(place)) from None
    reader_for(place)
    _only_train(split)
    return [place]


def _only_train(split: str) -> None:
    if split != "train":
        message = say("A file has only the split train: write train, or train[:1000] for the first rows.")
        raise DataError(message, "split_missing")


def _files_in_folder(folder: Path, split: str) -> list[Path]:
    if (folder / "dataset_dict.json").is_file():
        names = sorted(entry.name for entry in os.scandir(folder) if (folder / entry.name / "state.json").is_file())
        if split not in names:
            raise DataError(_no_split(split, names), "split_missing")
        folder = folder / split
    if (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file():
        return _save_to_disk_files(folder)
    names = [
        str(path.relative_to(folder))
        for path in islice(sorted(folder.rglob("*")), MAX_FILES)
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    names = [name for name in names if _is_data(name)]
    names = [name for name in names if os.sep not in name] or names  # subfolders only if the folder has none
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
        state: Any = json.loads((folder / "state.json").read_text("utf-8"))
        return [folder / str(entry["filename"]) for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error) or type(error).__name__
        raise DataError(say("The saved dataset cannot be read: {reason}.", reason=reason)) from None


def _no_split(split: str, names: list[str]) -> Message:
    return say('There is no split "{split}" here. There are: {names}.', split=split, names=", ".join(names[:10]))
