"""Looks at a dataset on this machine before an engine does: its format, its columns, its first rows."""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.preflight.json_rows import JsonFile, is_turn, is_turns
from engine.preflight.places import is_hub_id, is_local, local_path
from engine.preflight.rows import DataError, Row, RowFile
from engine.preflight.table_rows import CsvFile, ParquetFile
from engine.spec.fields import FieldError, did_you_mean
from engine.spec.run import DatasetSpec
from engine.spec.text import N_, Message, say

CHECKED_BYTES = 32 << 20  # how far into a file its rows are checked, and counted one by one
KINDS: dict[str, type[RowFile]] = {
    ".json": JsonFile, ".jsonl": JsonFile, ".ndjson": JsonFile, ".csv": CsvFile, ".parquet": ParquetFile,
}  # fmt: skip
MESSAGE_COLUMNS = ("messages", "conversations")

Format = Literal["alpaca", "messages", "unknown"]


class Peek(msgspec.Struct, frozen=True, kw_only=True):
    """What can be seen of a data file at once. With an `error`, it holds what was seen before it.

    `total`: rows in the file, an estimate unless `exact`.
    """

    path: str
    size_bytes: int = 0
    format: Format = "unknown"
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    total: int = 0
    exact: bool = False
    error: Message | None = None


def open_rows(path: str) -> RowFile:
    """The data file of this name. Raises `DataError` when there is none that Loris reads."""
    place = local_path(path)
    kind = KINDS.get(place.suffix.lower())
    if kind is None and place.is_file():
        raise DataError(
            say(N_("The name of this file must end in one of these: {endings}."), endings=", ".join(KINDS))
        )
    return (kind or RowFile)(place)


def peek(path: str, limit: int = 20) -> Peek:
    """The first `limit` rows of a JSON or JSONL file here, and how many there are. Never raises."""
    rows: list[Row] = []
    size = 0
    file = None
    error = None
    try:
        file = open_rows(path)
        size = file.size
        for row in file.rows():
            if len(rows) < limit:
                rows.append(row)
            elif file.bytes_read > CHECKED_BYTES:
                break
    except DataError as bad:
        error = bad.message
    return Peek(
        path=path,
        size_bytes=size,
        format=guess_format(rows),
        columns=columns_of(rows),
        rows=tuple(rows),
        total=file.total if file else 0,
        exact=bool(file and file.ended),
        error=error,
    )


def columns_of(rows: list[Row]) -> tuple[str, ...]:
    """The columns of some rows, in the order in which they turn up."""
    return tuple(dict.fromkeys(key for row in rows for key in row))


def guess_format(rows: list[Row]) -> Format:
    """What format `auto` means for these rows."""
    columns = columns_of(rows)
    if "output" in columns:
        return "alpaca" if "instruction" in columns else "unknown"
    return "messages" if any(is_turns(row.get(name)) for row in rows for name in MESSAGE_COLUMNS) else "unknown"


def check_dataset(data: DatasetSpec) -> list[FieldError]:
    """What is wrong with the dataset, as far as can be told without the Hub."""
    if not is_local(data.path):
        if is_hub_id(data.path):
            return []
        message = say(N_("This is neither a file on this machine nor a Hub id such as owner/name."))
        return [FieldError("dataset.path", message)]
    errors = []
    if data.split.partition("[")[0].strip() != "train":
        message = say(N_("A file has only the split train: write train, or train[:1000] for the first rows."))
        errors.append(FieldError("dataset.split", message))
    try:
        errors += _check_rows(open_rows(data.path), data)
    except DataError as bad:
        errors.append(FieldError("dataset.path", bad.message))
    return errors


def _check_rows(file: RowFile, data: DatasetSpec) -> list[FieldError]:
    """Read the rows, as far as that is quick, and check their columns. Raises `DataError`."""
    columns: dict[str, None] = {}
    turns: FieldError | None = None
    filled: set[str] = set()
    for row in file.rows():
        columns.update(dict.fromkeys(row))
        filled.update(name for name, value in row.items() if value not in (None, "", []))
        turns = turns or _check_turns(row, file.seen, data)
        if file.bytes_read > CHECKED_BYTES:
            break
    named = data.messages_column if data.messages_column != "auto" else ""
    chat = next((c for c in ((named,) if named else MESSAGE_COLUMNS) if c in columns), "")
    # The engine's own rule: instruction data may carry a column of that name as well.
    if data.format == "messages" or (data.format == "auto" and chat and data.output_column not in columns):
        if not chat:
            return [_no_messages(named, list(columns))]
        if not turns and file.ended and chat not in filled:
            return [_nothing_in("messages_column", chat)]
        return [turns] if turns else []
    errors = _check_columns(list(columns), data)
    if errors and named and data.format == "auto":
        return [_no_messages(named, list(columns))]
    if not errors and file.ended and data.output_column not in filled:
        return [_nothing_in("output_column", data.output_column)]
    return errors


def _nothing_in(key: str, name: str) -> FieldError:
    return FieldError(f"dataset.{key}", say(N_('"{column}" is empty in every row.'), column=name))


def _check_turns(row: Row, number: int, data: DatasetSpec) -> FieldError | None:
    """What is wrong with the conversation of a row, if anything."""
    names = MESSAGE_COLUMNS if data.messages_column == "auto" else (data.messages_column,)
    name = next((n for n in names if n in row), None)
    if name is None or not row[name] or is_turns(row[name]):
        return None  # the engine leaves empty conversations out
    value = row[name]
    if isinstance(value, list):
        bad = next(turn for turn in value if not is_turn(turn))
        found = ", ".join(map(str, bad)) if isinstance(bad, dict) else type(bad).__name__
        message = say(
            N_('Row {row}: a turn in "{column}" needs role and content, or from and value; it has {found}.'),
            row=number, column=name, found=found or "{}",
        )  # fmt: skip
    else:
        message = say(
            N_('Row {row}: "{column}" must be a list of turns, each with role and content.'),
            row=number, column=name,
        )  # fmt: skip
    return FieldError("dataset.messages_column", message)


def _no_messages(named: str, columns: list[str]) -> FieldError:
    field = "dataset.messages_column"
    if named:
        return FieldError(field, _no_column(named, columns))
    return FieldError(
        field,
        say(
            N_("There is no column messages or conversations. The columns are: {columns}."),
            columns=", ".join(columns),
        ),
    )


def _check_columns(columns: list[str], data: DatasetSpec) -> list[FieldError]:
    """The columns that instruction data needs and lacks."""
    errors = []
    # An empty name means that the column is not used; rows may lack the usual input column.
    wanted = {"instruction_column": data.instruction_column, "output_column": data.output_column}
    if data.input_column != "input":
        wanted["input_column"] = data.input_column
    for key, name in wanted.items():
        if name and name not in columns:
            errors.append(FieldError(f"dataset.{key}", _no_column(name, columns)))
    if not data.output_column:
        message = say(
            N_("Name the column with the answers. The columns are: {columns}."), columns=", ".join(columns)
        )
        errors.append(FieldError("dataset.output_column", message))
    return errors


def _no_column(name: str, columns: list[str]) -> Message:
    known = ", ".join(columns)
    if near := did_you_mean(name, columns):
        return say(
            N_('There is no column "{name}". Did you mean {near}? The columns are: {columns}.'),
            name=name, near=near, columns=known,
        )  # fmt: skip
    return say(N_('There is no column "{name}". The columns are: {columns}.'), name=name, columns=known)
