"""Loads the rows of the spec's sources through `datasets`, in their original order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from datasets import Dataset, Features, Value, load_dataset

from engine.config.local_paths import is_local
from engine.config.run_spec import DatasetSpec
from engine.config.sources import Source, parse_split
from engine.dataset.limits import LOOK_BYTES, DataError
from engine.dataset.open_source import find_files, open_source, slice_rows
from engine.dataset.row_file import empty_file
from engine.dataset.table_nulls import without_table_nulls
from engine.hub.retry import with_retries
from engine.messages.errors import UserError, causes, last_line
from engine.messages.message import Message, say
from engine.runtime.explain import explain

IN_MEMORY_BYTES = 64 << 20  # larger files are cached on disk by `datasets`
RECORD_VERSION = 2  # of the records cached by `datasets`: increase it when `_records` changes
FEATURES = Features({"row": Value("int64"), "raw": Value("large_string"), "problem": Value("large_string")})

BROKEN_HINT = say("JSON: one list of objects. JSONL: one object a line, all with the same columns.")


@dataclass(frozen=True)
class SourceRows:
    """The rows of a source. Those of a local file are kept as JSON: a table would convert texts to numbers or
    dates, and reject rows with different columns."""

    source: Source
    records: Dataset
    local: bool

    def __len__(self) -> int:
        return len(self.records)

    def first(self, count: int) -> list[dict[str, Any]]:
        """The first rows that can be read: so many, or what a look reads."""
        found: list[dict[str, Any]] = []
        size = 0
        for index, record in enumerate(self.records):
            size += len(record["raw"]) if self.local else 0
            if len(found) == count or (found and size > LOOK_BYTES):
                break
            _, row, problem = decode_record(self.local, record, index)
            if problem is None:
                found.append(row)
        return found


def decode_record(local: bool, record: dict[str, Any], index: int) -> tuple[int, dict[str, Any], Message | None]:
    """(row number from 1, the row, why it cannot be read) of the record at `index`."""
    if not local:
        return index + 1, without_table_nulls(record), None
    if record["problem"]:
        why = msgspec.json.decode(record["problem"], type=Message)
        return record["row"], {"raw": record["raw"]}, why
    return record["row"], msgspec.json.decode(record["raw"]), None


def fetch(
    data: DatasetSpec, source: Source, field: str = "dataset.path", split: str = "dataset.split"
) -> SourceRows:
    """The rows of a source, from this machine or the Hub. Raises `UserError` with the field to correct."""
    rows = _from_files(data, source, field, split) if is_local(source.path) else _from_hub(source, field, split)
    if not len(rows):
        raise no_rows(source, field)
    return rows


def _from_files(data: DatasetSpec, source: Source, field: str, split_field: str) -> SourceRows:
    split = parse_split(source.split)
    if split is None:
        message = say("Write a split as train, train[:1000], train[10:20] or train[:10%].")
        raise UserError("split_missing", message, None, split_field)
    try:
        files = find_files(source.path, split.split)
        stamp = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files]
        arguments: dict[str, Any] = {
            "source": msgspec.json.encode(source).decode(),
            "skip_bad": data.drop_bad_rows,
        }
        found = _small(_records(**arguments)) if sum(size for _, _, size in stamp) <= IN_MEMORY_BYTES else None
        if found is not None:
            if not found:
                raise DataError(empty_file(), "dataset_empty")
            records = Dataset.from_list(found, features=FEATURES)
        else:
            records = Dataset.from_generator(
                _records, features=FEATURES, gen_kwargs={**arguments, "stamp": repr((RECORD_VERSION, stamp))}
            )
    except Exception as error:
        raise file_error(error, source, field, split_field) from error
    first, last = split.bounds(len(records))
    select_late = (
        not split.whole
        and len(records)
        and any(bound and (bound.endswith("%") or bound.startswith("-")) for bound in (split.start, split.stop))
    )  # other slices were applied while reading
    return SourceRows(source, records.select(range(first, last)) if select_late else records, local=True)


def _small(records: Iterator[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """The records, None if they take more than `IN_MEMORY_BYTES`: compressed files hold more than their size."""
    found, size = [], 0
    for record in records:
        size += len(record["raw"])
        if size > IN_MEMORY_BYTES:
            return None
        found.append(record)
    return found


def _records(source: str, skip_bad: bool, stamp: str = "") -> Iterator[dict[str, Any]]:
    """The rows of files as records of `FEATURES`. With `skip_bad`, also those that cannot be read."""
    decoded = msgspec.json.decode(source, type=Source)
    file = open_source(decoded, read_all=True)
    bad: list[dict[str, Any]] = []
    if skip_bad:
        file.on_bad_row = lambda row, why, text: bad.append(
            {"row": row, "raw": text, "problem": msgspec.json.encode(why).decode()}
        )
    for number, row in slice_rows(file, decoded.split):
        yield from bad
        bad.clear()
        yield {"row": number, "raw": msgspec.json.encode(row, enc_hook=str).decode(), "problem": ""}
    yield from bad


def file_error(error: Exception, source: Source, field: str, split_field: str) -> UserError:
    """Why the files of a source cannot be read, with the field to correct."""
    cause = next((one for one in causes(error) if isinstance(one, DataError)), None)
    if cause is None:
        return explain(error, field)
    hint = None
    match cause.code:
        case "dataset_empty":
            return no_rows(source, field)
        case "dataset_missing":
            hint = say("Give a file or folder on this machine, or a Hub id such as owner/name.")
        case "dataset_broken":
            hint = BROKEN_HINT
        case "split_missing":
            field = split_field
    return UserError(cause.code, cause.message, hint, field)


def _from_hub(source: Source, field: str, split_field: str) -> SourceRows:
    try:
        records = with_retries(
            lambda: load_dataset(
                source.path, name=source.name or None, revision=source.revision or None, split=source.split
            )
        )
    except ValueError as error:
        raise _hub_error(source, error, field, split_field) from error
    except Exception as error:
        failure = explain(error, field)
        raise (broken_error(error, field) if failure.code == "crashed" else failure) from error
    if not isinstance(records, Dataset):
        raise UserError("split_missing", say("Name one split, such as train."), None, split_field)
    return SourceRows(source, records, local=False)


def _hub_error(source: Source, error: ValueError, field: str, split_field: str) -> UserError:
    """`datasets` raises ValueError for a wrong split, a wrong configuration and an empty file alike."""
    text = str(error)
    if "corresponds to no data" in text:
        return no_rows(source, field)
    if "split" in text.lower():
        return UserError(
            "split_missing",
            say('The dataset has no split "{split}": {reason}', split=source.split, reason=last_line(error)),
            say("train is the usual name; a file of your own has only that."),
            split_field,
        )
    if "onfig" in text:
        return UserError(
            "config_missing",
            say("Name one of the dataset's configurations: {reason}", reason=last_line(error)),
            None,
            "dataset.name",
        )
    failure = explain(error, field)
    return broken_error(error, field) if failure.code == "crashed" else failure


def broken_error(error: BaseException, field: str) -> UserError:
    """The file is there but cannot be read as rows."""
    cause = error.__cause__ or error
    return UserError(
        "dataset_broken",
        say("The dataset cannot be read: {reason}", reason=last_line(cause)),
        BROKEN_HINT,
        field,
    )


def no_rows(source: Source, field: str) -> UserError:
    return UserError(
        "dataset_empty",
        say("The dataset has no rows: {path}, split {split}.", path=source.path, split=source.split),
        say("Check the file, or use a larger slice."),
        field,
    )
