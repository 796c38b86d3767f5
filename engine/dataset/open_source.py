"""Opens what a dataset section names on this machine: a file, a folder, a pattern, a save_to_disk folder."""

from __future__ import annotations

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
from engine.dataset.row_file import DataError, Row, RowFile, data_files, missing, unreadable
from engine.dataset.table_files import ArrowFile, CsvFile, ParquetFile, TextFile
from engine.messages.message import Message, say

KINDS: dict[str, type[RowFile]] = {
    ".json": JsonFile, ".jsonl": JsonFile, ".ndjson": JsonFile, ".csv": CsvFile, ".tsv": CsvFile,
    ".parquet": ParquetFile, ".arrow": ArrowFile, ".txt": TextFile,
}  # fmt: skip
MOST_FILES = 10_000
_TRAIN = re.compile(r"(^|[^a-z])train([^a-z]|$)", re.IGNORECASE)
_OTHER = re.compile(r"(^|[^a-z])(test|eval|evaluation|valid|validation|val|dev)([^a-z]|$)", re.IGNORECASE)
_SPLITS = {"validation": "valid|validation|val|dev", "test": "test|eval|evaluation"}


class ManyFiles(RowFile):
    """Files with rows, one after the other, as if they were one."""

    def __init__(self, files: list[RowFile]) -> None:
        self.files = files
        self.path, self.size = files[0].path, sum(file.size for file in files)
        self.on_bad, self.ended, self._at = None, False, 0

    @property
    def seen(self) -> int:  # type: ignore[override]
        return sum(file.seen for file in self.files)

    @property
    def bytes_read(self) -> int:  # type: ignore[override]
        return sum(file.size if file.ended else file.bytes_read for file in self.files)

    @property
    def effort(self) -> int:
        return sum(file.effort for file in self.files)

    @property
    def total(self) -> int:
        known = sum(file.total for file in self.files if file.seen)
        read = sum(file.size for file in self.files if file.seen)
        return round(known * self.size / read) if read and not self.ended else known

    def rows(self) -> Iterator[Row]:
        for file in self.files:
            if self.on_bad:
                before, tell = self.seen, self.on_bad
                file.on_bad = lambda row, why, text, before=before, tell=tell: tell(before + row, why, text)
            try:
                yield from file.rows()
            except DataError as error:
                named = say("{file}: {reason}", file=file.path.name, reason=str(error.message))
                raise DataError(named) from None
        self.ended = all(file.ended for file in self.files)


def open_source(source: Source, *, whole: bool = False) -> RowFile:
    """The rows of a source on this machine, before its slice. Raises `DataError` at the path or the split."""
    split = parse_split(source.split)
    files = files_of(source.path, split.split if split else "train")
    opened = [kind_of(path)(path, whole=whole) for path in files]
    return opened[0] if len(opened) == 1 else ManyFiles(opened)


def open_rows(path: str) -> RowFile:
    """The rows of the split train of a file, folder or pattern. Raises `DataError`."""
    return open_source(Source(path=path))


def sliced(file: RowFile, split: str) -> Iterator[tuple[int, Row]]:
    """(number from 1, row) of the rows in a slice, as far as its bounds can be told beforehand."""
    found = parse_split(split)
    bounds = [found.start, found.stop] if found else []
    numbered = ((file.seen, row) for row in file.rows())
    if found is None or found.whole or any(b and (b.endswith("%") or b.startswith("-")) for b in bounds):
        return numbered
    return islice(numbered, int(found.start or 0), found.known_stop)


def kind_of(path: Path) -> type[RowFile]:
    """The reader of a file by its name. Raises `DataError` for a name that says nothing."""
    name = path.name.lower()
    for packed in PACKED_SUFFIXES:
        name = name.removesuffix(packed)
    kind = KINDS.get(os.path.splitext(name)[1])
    if kind is None:
        raise DataError(
            say("The name of this file must end in one of these: {endings}.", endings=", ".join(ROW_SUFFIXES)),
            "dataset_unknown_type",
        )
    return kind


def files_of(name: str, split: str = "train") -> list[Path]:
    """The files that a local name means, in order. Raises `DataError` when there are none."""
    place = local_path(name)
    if place.is_dir():
        return _in_folder(place, split)
    if not place.exists() and has_pattern(name):
        found = sorted(Path(p) for p in islice(glob.iglob(str(place), recursive=True), MOST_FILES))
        files = [path for path in found if path.is_file()]
        if not files:
            raise DataError(say("No file has a name like {pattern}.", pattern=name), "dataset_missing")
        _only_train(split)
        return files
    try:
        os.stat(place)
    except FileNotFoundError:
        raise DataError(missing(place), "dataset_missing") from None
    except (OSError, ValueError) as error:
        raise DataError(unreadable(error) if isinstance(error, OSError) else missing(place)) from None
    kind_of(place)
    _only_train(split)
    return [place]


def _only_train(split: str) -> None:
    if split != "train":
        message = say("A file has only the split train: write train, or train[:1000] for the first rows.")
        raise DataError(message, "split_missing")


def _in_folder(folder: Path, split: str) -> list[Path]:
    if (folder / "dataset_dict.json").is_file():
        names = sorted(entry.name for entry in os.scandir(folder) if (folder / entry.name / "state.json").is_file())
        if split not in names:
            raise DataError(_no_split(split, names), "split_missing")
        folder = folder / split
    if (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file():
        return _saved(folder)
    names = [
        str(path.relative_to(folder))
        for path in islice(sorted(folder.rglob("*")), MOST_FILES)
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    names = [name for name in names if _is_data(name)]
    names = [name for name in names if os.sep not in name] or names  # those below only where none is in it
    if not names:
        raise DataError(say("There is no data file in this folder. Known endings: {endings}.",
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
        kind_of(Path(name))
    except DataError:
        return False
    return True


def _saved(folder: Path) -> list[Path]:
    """The files of a folder of save_to_disk, in their order."""
    try:
        state: Any = json.loads((folder / "state.json").read_text("utf-8"))
        return [folder / str(entry["filename"]) for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error) or type(error).__name__
        raise DataError(say("The saved dataset cannot be read: {reason}.", reason=reason)) from None


def _no_split(split: str, names: list[str]) -> Message:
    return say('There is no split "{split}" here. There are: {names}.', split=split, names=", ".join(names[:10]))


__all__ = ["KINDS", "data_files", "files_of", "open_rows", "open_source", "sliced"]
