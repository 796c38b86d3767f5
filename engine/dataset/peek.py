"""Previews and checks a local dataset without the engine: its format, its columns, its first rows."""

from itertools import islice

import msgspec

from engine.config.fields import FieldError
from engine.config.local_paths import is_hub_id, is_local
from engine.config.run_spec import DatasetSpec
from engine.config.sources import Source, SpecSource, eval_source, main_source, parse_split, training_sources
from engine.dataset.answer_counts import AnswerCounts
from engine.dataset.detected import Detected
from engine.dataset.detection import common_prompt_format, detect, detect_source
from engine.dataset.limits import LOOK_BYTES, LOOK_SECONDS, DataError
from engine.dataset.mapping import BadRow, Kind
from engine.dataset.open_source import open_source, slice_rows
from engine.dataset.row_file import Row, RowFile
from engine.messages.errors import last_line
from engine.messages.message import Message, say

CHECKED_BYTES = LOOK_BYTES
DETECTED_ROWS = 100  # used to detect the format


class Peek(msgspec.Struct, frozen=True, kw_only=True):
    """A preview of a dataset. With an `error`, it contains what was read before the error.

    `total`: rows in the slice, an estimate unless `exact`.
    """

    path: str
    size_bytes: int = 0
    format: Kind = "unknown"
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    total: int = 0
    exact: bool = False
    error: Message | None = None
    detected: Detected | None = None


def peek(
    path: str,
    limit: int = 20,
    data: DatasetSpec | None = None,
    source: Source | None = None,
    method: str = "sft",
) -> Peek:
    """The first `limit` rows of a local dataset, the number of rows and their format. Never raises.

    `data`: the settings that map the columns. `source`: another source than the main one of `data`.
    `method`: the training method to check the format against.
    """
    try:
        return _peek(path, limit, data or DatasetSpec(path=path), source, method)
    except Exception as error:  # whatever foreign data does to a reader
        return Peek(path=path, error=say("The data cannot be read: {reason}", reason=last_line(error)))


def _peek(path: str, limit: int, data: DatasetSpec, source: Source | None, method: str) -> Peek:
    source = source or msgspec.structs.replace(main_source(data), path=path)
    rows: list[Row] = []
    first: list[Row] = []
    file = error = None
    try:
        file = _open_look(source, data)
        for _, row in slice_rows(file, source.split):
            if len(first) < max(limit, DETECTED_ROWS):
                first.append(row)
        rows = first[:limit]
        if not rows and file.look_ended:
            error = _nothing_found()
    except DataError as bad:
        error, rows = bad.message, first[:limit]
    detected = detect(first, data, method) if first else None
    total, exact = _total(file, source.split) if file else (0, False)
    return Peek(
        path=path,
        size_bytes=file.size if file else 0,
        format=detected.kind if detected else "unknown",
        columns=columns_of(first),
        rows=tuple(rows),
        total=total,
        exact=exact,
        error=error,
        detected=detected,
    )


def _open_look(source: Source, data: DatasetSpec) -> RowFile:
    """The start of a source. Raises `DataError`."""
    file = open_source(source)
    if data.drop_bad_rows:
        file.on_bad_row = lambda row, why, text: None
    file.limit_look(CHECKED_BYTES, LOOK_SECONDS)
    return file


def _nothing_found() -> Message:
    return say("No row was found in the first {count} MB.", count=CHECKED_BYTES >> 20)


def is_late(split: str) -> bool:
    """Whether a slice leaves out rows at the start."""
    found = parse_split(split)
    return found is not None and found.start not in (None, "0")


def _total(file: RowFile, split: str) -> tuple[int, bool]:
    """(rows in the slice, whether this is exact)."""
    found = parse_split(split)
    if found is None or found.whole:
        return file.total, file.ended
    first, last = found.bounds(file.total)
    stopped = found.known_stop is not None and file.rows_read >= found.known_stop
    return last - first, file.ended or stopped


def columns_of(rows: list[Row]) -> tuple[str, ...]:
    """The columns of some rows, in order of first appearance."""
    return tuple(dict.fromkeys(key for row in rows for key in row))


def check_dataset(data: DatasetSpec, method: str = "sft") -> list[FieldError]:
    """The errors of the dataset for a training method, as far as they can be found without the Hub."""
    errors: list[FieldError] = []
    kinds: list[Kind] = []
    held = eval_source(data)
    for place in (*training_sources(data), *([held] if held else [])):
        errors += _check_place(data, place, method, kinds)
    if not errors and (clash := common_prompt_format(kinds, data)[1]):
        errors.append(clash)
    return errors


def _check_place(data: DatasetSpec, place: SpecSource, method: str, kinds: list[Kind]) -> list[FieldError]:
    source, at, split_at = place.source, place.field, place.split_field
    if not is_local(source.path):
        if is_hub_id(source.path):
            return []
        message = say("This is neither a file on this machine nor a Hub id such as owner/name.")
        return [FieldError(at, message)]
    if not parse_split(source.split):
        return [FieldError(split_at, say("Write a split as train, train[:1000], train[10:20] or train[:10%]."))]
    try:
        file = _open_look(source, data)
        found = _check_rows(file, place, data, method, kinds)
    except DataError as bad:
        return [FieldError(split_at if bad.code == "split_missing" else at, bad.message)]
    except Exception as error:  # whatever foreign data does to a reader
        return [FieldError(at, say("The data cannot be read: {reason}", reason=last_line(error)))]
    if at == "dataset.path" or not found:
        return found
    return [FieldError(at, say("{path}: {reason}", path=source.path, reason=str(e.message))) for e in found]


def _check_rows(
    file: RowFile, place: SpecSource, data: DatasetSpec, method: str, kinds: list[Kind]
) -> list[FieldError]:
    """Try to make an example of each row of the first `CHECKED_BYTES`. Raises `DataError`."""
    numbered = slice_rows(file, place.source.split)
    first = list(islice(numbered, DETECTED_ROWS))
    if not first:
        if file.look_ended and is_late(place.source.split):
            return []  # the slice begins further on than a look reads
        raise DataError(_nothing_found() if file.look_ended else say("This file has no rows."))
    found = detect_source([row for _, row in first], data, place, method)
    kinds.append(found.kind)
    if found.problem:
        return [found.problem]
    usable, empty, left_out = 0, None, None
    counts = AnswerCounts()
    for rows in (first, numbered):
        for number, row in rows:
            try:
                counts.add(number, row, found.mapping, found.mapping.example(row))
                usable += 1
            except BadRow as bad:
                if bad.empty:
                    empty = empty or bad
                elif not data.drop_bad_rows:
                    return [FieldError(bad.field, bad.describe(number))]
                else:
                    left_out = left_out or FieldError(bad.field, bad.describe(number))
    if usable:
        all_votes = file.ended and not data.mix and place.field == "dataset.path"
        unfit = counts.error(all_votes=all_votes)
        return [unfit] if unfit else []
    if empty and empty.tied:
        message = say("No row has a better answer: all scores are equal, or no answer is named as the better one.")
        return [FieldError(empty.field, message)]
    if empty and not left_out:
        column = str(empty.values["column"])
        return [FieldError(empty.field, say('"{column}" is empty in every row.', column=column))]
    return [left_out] if left_out else []
