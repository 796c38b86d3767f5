"""Turns a file or a Hub dataset into the rows that the trainer reads."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
from datasets import Dataset, concatenate_datasets

from engine.config.run_spec import RunSpec
from engine.config.sources import SpecSource, eval_source, training_sources
from engine.dataset.detection import common_prompt_format, detect_source
from engine.dataset.mapping import Mapping
from engine.dataset.peek import DETECTED_ROWS
from engine.dataset.row_sampling import sample_rows
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from engine.runtime.event_writer import EventWriter
from engine.training.hold_out import describe_kept_apart, describe_overlap, hold_out, text_key
from engine.training.load_rows import SourceRows, decode_record, fetch
from engine.training.method import Prepared, RowProblem, TrainingMethod, convert, incomplete, processes
from engine.training.methods import method_for
from engine.training.row_check import COUNTED, TIES, Finding, Part

IS_RANK_0 = os.environ.get("RANK", "0") == "0"  # under torchrun only one rank writes files


@dataclass(frozen=True)
class SourceData:
    """The rows of one source, and the mapping of their columns."""

    rows: SourceRows
    mapping: Mapping
    columns: tuple[str, ...]


def prepare(spec: RunSpec, tokenizer: Any, stop_ids: list[int], record: EventWriter) -> Prepared:
    """The rows to train on, in the columns of the spec's training method. Raises `UserError`."""
    data = spec.dataset
    sources = [_load_source(spec, place) for place in training_sources(data)]
    place = eval_source(data)
    eval_data = _load_source(spec, place) if place else None
    kinds = [source.mapping.kind for source in (*sources, eval_data) if source]
    kind, clash = common_prompt_format(kinds, data)
    if clash:
        raise UserError("formats_mixed", clash.message, None, clash.field)
    method = method_for(spec, kind, tokenizer, stop_ids, kinds[0])
    writer = RowWriter(spec, method, record)
    counts, weights = [len(source.rows) for source in sources], [source.rows.source.weight for source in sources]
    written, drawn = writer.rows(sources, sample_rows(data, counts, weights))
    held_out = writer.rows([eval_data], [range(len(eval_data.rows))])[0] if eval_data else None
    writer.report_left_out()
    if data.test_size:
        found = hold_out(_keys(written), drawn, data.test_size, spec.training.seed)
        drawn, held_out = found.train, written.select(found.held_out)
        if found.kept_apart:
            _warn(record, "rows_kept_apart", describe_kept_apart(found.kept_apart))
    elif held_out is not None:
        trained = set(_keys(written))
        if overlap := sum(key in trained for key in _keys(held_out)):
            _warn(record, "rows_on_both_sides", describe_overlap(overlap))
    return Prepared(written.select(drawn), held_out, sources[0].columns, writer.example_raw, method)


def _keys(rows: Dataset) -> list[bytes]:
    """The key of each row; duplicates have the same one, also where columns that nothing is made of differ."""
    texts = rows.select_columns([name for name in rows.column_names if name != "row"])
    return [text_key(*one) for batch in texts.iter(1000) for one in zip(*batch.values(), strict=True)]


def _warn(record: EventWriter, code: str, message: Message) -> None:
    record.emit(ev.Notice(code=code, message=message, level="warning"))


def _load_source(spec: RunSpec, place: SpecSource) -> SourceData:
    """Load the rows of a source and detect their format. Raises `UserError`."""
    rows = fetch(spec.dataset, place.source, place.field, place.split_field)
    first = rows.first(DETECTED_ROWS)
    found = detect_source(first, spec.dataset, place, spec.training.method)
    columns = tuple(dict.fromkeys(key for row in first for key in row))
    if found.problem:
        code = "column_missing" if "_column" in found.problem.field else "format_unknown"
        hint = say("Map the columns in the dataset settings.")
        field = found.problem.field if place.field == "dataset.path" else place.field
        raise UserError(code, found.problem.message, hint, field)
    return SourceData(rows, found.mapping, columns)


class RowWriter:
    """Writes rows in the trainer's columns, and records those it leaves out."""

    def __init__(self, spec: RunSpec, method: TrainingMethod, record: EventWriter) -> None:
        self._spec, self._method, self._record = spec, method, record
        self._file = RunFolder(record.folder).dropped
        if IS_RANK_0:
            self._file.unlink(missing_ok=True)
        self._empty = self._tied = self._bad = 0
        self._lacking: dict[Part, tuple[int, int]] = {}  # rows, and the number of the first
        self.example_raw = ""

    def rows(self, sources: list[SourceData], drawn_rows: list[Sequence[int]]) -> tuple[Dataset, Sequence[int]]:
        """(the rows in the trainer's columns, each once; the drawn ones as indices into them, with repeats).

        `drawn_rows`: indices into each source. Raises `UserError`.
        """
        found: list[Dataset] = []
        drawn: list[Sequence[int]] = []
        start = 0
        for source, indices in zip(sources, drawn_rows, strict=True):
            if not len(indices):
                continue
            once = indices if isinstance(indices, range) else sorted(set(indices))
            written, good = self._write_source(source, once)
            if isinstance(indices, range):
                drawn.append(range(start, start + len(good)))
            else:
                at = {once[index]: start + number for number, index in enumerate(good)}
                drawn.append([at[index] for index in indices if index in at])
            start += len(good)
            found.append(written)
        if not start:
            raise UserError(
                "dataset_empty",
                say("No row of the dataset has an answer."),
                say("A conversation needs a turn of the assistant; other rows need text in the output column."),
                "dataset.path",
            )
        rows = concatenate_datasets(found) if len(found) > 1 else found[0]
        return rows, range(start) if all(isinstance(one, range) for one in drawn) else list(chain(*drawn))

    def _write_source(self, source: SourceData, indices: Sequence[int]) -> tuple[Dataset, list[int]]:
        """(the rows that training can use, their positions in `indices`)."""
        records = source.rows.records
        if not isinstance(indices, range):
            records = records.select(indices)
        method, local, mapping = self._method, source.rows.local, source.mapping
        picked = None if isinstance(indices, range) else indices

        def write(record: dict[str, Any], index: int) -> dict[str, str]:
            number, row, unreadable = decode_record(local, record, picked[index] if picked else index)
            if unreadable:
                made: Any = RowProblem("dataset_broken", unreadable, "dataset.path")
            else:
                made = convert(number, row, mapping, method.row)
            lacking: list[Finding] = []
            if not isinstance(made, RowProblem):
                texts = method.texts(made[1])
                decoded = method.decode(method.tokens(texts))
                lacking = method.lacking(row, mapping, "\n".join(texts), "\n".join(decoded))
                made = incomplete(number, lacking, self._spec) or made
            if isinstance(made, RowProblem):
                return {
                    **dict.fromkeys(method.columns, ""),
                    "problem": msgspec.json.encode(made).decode(),
                    "lacking": "",
                    "masked": "",
                }
            parts = {finding.part: number for finding in lacking}
            return {
                **method.for_trainer(made[1]),
                **({"row": json.dumps(row, ensure_ascii=False, default=str)} if "row" in method.columns else {}),
                "problem": "",
                "lacking": json.dumps(parts) if parts else "",
                "masked": ",".join(map(str, made[0].masked)),
            }

        written = records.map(
            write,
            with_indices=True,
            remove_columns=records.column_names,
            num_proc=processes(self._spec, len(records)),
            desc="Writing as text",
        )
        for parts in filter(None, written["lacking"]):
            for part, number in json.loads(parts).items():
                count, first = self._lacking.get(part, (0, number))
                self._lacking[part] = (count + 1, first)
        for index, masked in enumerate(written["masked"]):
            if masked:
                method.remember_masked(written[index][method.columns[0]], tuple(map(int, masked.split(","))))
        good = [index for index, problem in enumerate(written["problem"]) if not problem]
        if len(good) < len(written):
            self._record_left_out(source, records, written, picked)
        if good and not self.example_raw:
            _, row, _ = decode_record(local, records[good[0]], good[0])
            self.example_raw = json.dumps(row, ensure_ascii=False, indent=2, default=str)
        rows = written.select_columns(list(method.columns))
        return (rows if len(good) == len(written) else rows.select(good)), good

    def _record_left_out(self, source: SourceData, records: Dataset, written: Dataset, picked: Any) -> None:
        """List the rows left out. Raises `UserError` for a bad one, unless `drop_bad_rows` is set."""
        with (self._file if IS_RANK_0 else Path(os.devnull)).open("a", encoding="utf-8") as file:
            for index, text in enumerate(written["problem"]):
                if not text:
                    continue
                problem = msgspec.json.decode(text, type=RowProblem)
                if not problem.empty and not self._spec.dataset.drop_bad_rows:
                    hint = say("Correct the row, or set drop_bad_rows to leave such rows out.")
                    if problem.code == "row_incomplete":
                        hint = say(
                            "Correct the row, choose a chat template that writes it, or set missing_parts: to text "
                            "to write it as plain text, to accept to train without it."
                        )
                    raise UserError(problem.code, problem.message, hint, problem.field)
                number, row, _ = decode_record(
                    source.rows.local, records[index], picked[index] if picked else index
                )
                line = {
                    "source": source.rows.source.path,
                    "row": number,
                    "reason": str(problem.message),
                    "value": row,
                }
                file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
                self._tied += problem.code == "tie"
                self._empty += problem.empty and problem.code != "tie"
                self._bad += not problem.empty

    def report_left_out(self) -> None:
        """Report what was left out: rows, and parts of rows."""
        for part, (count, first) in self._lacking.items():
            message = say(COUNTED[part], count=count, row=first)
            self._record.emit(ev.Notice(code=f"row_lacks_{part}", message=message, level="warning"))
        if self._empty:
            message = say("Rows without an answer left out: {count}.", count=self._empty)
            _warn(self._record, "rows_left_out", message)
        if self._tied:
            message = say(TIES, count=self._tied)
            _warn(self._record, "ties_left_out", message)
        if self._bad:
            message = say("Bad rows left out: {count}. They are in {file}.", count=self._bad, file=str(self._file))
            _warn(self._record, "bad_rows_left_out", message)
