"""From a file or a Hub dataset to the texts that are learned."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from datasets import Dataset, concatenate_datasets
from tokenizers import Tokenizer

from engine.config.run_spec import RunSpec
from engine.config.sources import eval_source, main_source, parse_source
from engine.dataset.detection import detect, one_prompt_format
from engine.dataset.mapping import BadRow, Mapping, shown
from engine.dataset.peek import DETECTED_ROWS
from engine.dataset.row_sampling import drawn
from engine.dataset.turns import as_string, as_turns
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.model import hardware
from engine.prompting import mask_markers
from engine.prompting.prompt_format import PromptFormat, adds_bos, after_answer, choose_template, prompt_format_for
from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from engine.runtime.event_writer import EventWriter
from engine.runtime.ranks import is_leader
from engine.training.load_rows import SourceRows, fetch, read

LEADER = is_leader()
FEW_ROWS = 5_000  # below this, starting processes costs more than they save

__all__ = ["Prepared", "as_string", "as_turns", "check_ending", "eos_missing", "fetch", "prepare", "processes"]


@dataclass
class Prepared:
    """Texts ready for the trainer, in its column "text", and how they were made.

    Without a `response_part`, whole texts are learned.
    """

    train: Dataset
    held_out: Dataset | None
    prompt_format: PromptFormat
    columns: tuple[str, ...]
    example_raw: str
    instruction_part: str
    response_part: str


class RowProblem(msgspec.Struct, frozen=True):
    """Why a row is left out. `empty`: it just has no answer."""

    code: str
    message: Message
    field: str
    empty: bool = False


@dataclass(frozen=True)
class Part:
    """The rows of one source and what they mean."""

    rows: SourceRows
    mapping: Mapping
    columns: tuple[str, ...]


def processes(spec: RunSpec, rows: int) -> int | None:
    """How many processes prepare the data; None is this one alone."""
    wanted = spec.training.dataset_num_proc
    return wanted if rows >= FEW_ROWS and wanted > 1 else None


def prepare(spec: RunSpec, tokenizer: Any, stop_ids: list[int], record: EventWriter) -> tuple[Prepared, Any]:
    """The texts to learn, and the tokenizer with the chosen chat template. Raises `UserError`."""
    data = spec.dataset
    parts = [_part(spec, fetch(data, main_source(data)))]
    for line in data.mix:
        if source := parse_source(line)[0]:
            parts.append(_part(spec, fetch(data, source, "dataset.mix", "dataset.mix"), "dataset.mix"))
    held = None
    if source := eval_source(data):
        at = "dataset.eval_path" if data.eval_path else "dataset.eval_split"
        held = _part(spec, fetch(data, source, at, "dataset.eval_split"), at)
    kind, clash = one_prompt_format([part.mapping.kind for part in [*parts, *([held] if held else [])]], data)
    if clash:
        raise UserError("formats_mixed", clash.message, None, clash.field)
    prompt_format = prompt_format_for(data, kind)
    if kind == "messages":
        tokenizer = choose_template(tokenizer, data.chat_template)
        check_ending(tokenizer, [*stop_ids, tokenizer.eos_token_id])
    writer = Writer(spec, prompt_format, tokenizer, record)
    counts, weights = [len(part.rows) for part in parts], [part.rows.source.weight for part in parts]
    rows = writer.texts(parts, drawn(data, counts, weights))
    held_out = writer.texts([held], [range(len(held.rows))]) if held else None
    writer.tell()
    if data.test_size:
        rows, held_out = hold_out(rows, data.test_size, spec.training.seed)
    responses_only = data.train_on_responses_only and kind != "plain"
    found = mask_markers.find(data, prompt_format, tokenizer) if responses_only else ("", "")
    prepared = Prepared(
        train=rows,
        held_out=held_out,
        prompt_format=prompt_format,
        columns=parts[0].columns,
        example_raw=writer.example_raw,
        instruction_part=found[0],
        response_part=found[1],
    )
    return prepared, tokenizer


def _part(spec: RunSpec, rows: SourceRows, field: str = "") -> Part:
    """What the rows of a source are. Raises `UserError`."""
    first = rows.first(DETECTED_ROWS)
    found = detect(first, spec.dataset)
    columns = tuple(dict.fromkeys(key for row in first for key in row))
    if found.problem:
        code = "column_missing" if "_column" in found.problem.field else "format_unknown"
        hint = say("Say which column holds what in the dataset settings.")
        raise UserError(code, found.problem.message, hint, field or found.problem.field)
    return Part(rows, found.mapping, columns)


def hold_out(rows: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """(rows to learn, rows to measure the loss on)."""
    try:
        parts = rows.train_test_split(test_size=share, seed=seed)
    except ValueError as error:
        raise UserError(
            "dataset_too_small",
            say("Of {rows} rows, a share of {share} cannot be held out.", rows=len(rows), share=share),
            say("Set it to 0, or add data."),
            "dataset.test_size",
        ) from error
    return parts["train"], parts["test"]


class Writer:
    """Writes rows as texts, and keeps account of those of which nothing can be learned."""

    def __init__(self, spec: RunSpec, prompt_format: PromptFormat, tokenizer: Any, record: EventWriter) -> None:
        self._spec, self._prompt_format, self._tokenizer, self._record = spec, prompt_format, tokenizer, record
        self._file = RunFolder(record.folder).dropped
        if LEADER:
            self._file.unlink(missing_ok=True)
        self._empty = self._bad = 0
        self.example_raw = ""

    def texts(self, parts: list[Part], taken: list[Any]) -> Dataset:
        """The rows of all sources as texts, in the one column "text". Raises `UserError`."""
        found = [self._part(part, places) for part, places in zip(parts, taken, strict=True) if len(places)]
        rows = concatenate_datasets(found) if len(found) > 1 else found[0]
        if not len(rows):
            raise UserError(
                "dataset_empty",
                say("No row of the dataset has an answer."),
                say("A conversation needs a turn of the assistant; other rows need text in the output column."),
                "dataset.path",
            )
        return rows

    def _part(self, part: Part, places: Any) -> Dataset:
        records = part.rows.records
        if not isinstance(places, range):
            records = records.select(places)
        # TRL's own trainer, which Unsloth uses on a CPU, adds the beginning-of-sequence token to a text that has
        # it already; Unsloth's on a GPU does not.
        tokenizer, prompt_format, local = self._tokenizer, self._prompt_format, part.rows.local
        bos = tokenizer.bos_token if hardware.device().kind == "cpu" and adds_bos(tokenizer) else ""
        mapping, picked = part.mapping, None if isinstance(places, range) else places

        def write(record: dict[str, Any], index: int) -> dict[str, str]:
            text, problem = text_of(
                read(local, record, picked[index] if picked else index), mapping, prompt_format, tokenizer
            )
            return {
                "text": text.removeprefix(bos),
                "problem": msgspec.json.encode(problem).decode() if problem else "",
            }

        written = records.map(
            write,
            with_indices=True,
            remove_columns=records.column_names,
            num_proc=processes(self._spec, len(records)),
            desc="Writing as text",
        )
        good = [index for index, problem in enumerate(written["problem"]) if not problem]
        if len(good) < len(written):
            self._leave_out(part, records, written, picked)
        if good and not self.example_raw:
            _, row, _ = read(local, records[good[0]], good[0])
            self.example_raw = json.dumps(row, ensure_ascii=False, indent=2, default=str)
        texts = written.select_columns(["text"])
        return texts if len(good) == len(written) else texts.select(good)

    def _leave_out(self, part: Part, records: Dataset, written: Dataset, picked: Any) -> None:
        """List the rows of which nothing can be learned. Raises `UserError` for a bad one, unless told not to."""
        with (self._file if LEADER else Path(os.devnull)).open("a", encoding="utf-8") as file:
            for index, text in enumerate(written["problem"]):
                if not text:
                    continue
                problem = msgspec.json.decode(text, type=RowProblem)
                if not problem.empty and not self._spec.dataset.drop_bad_rows:
                    hint = say("Correct the row, or set drop_bad_rows to leave such rows out.")
                    raise UserError(problem.code, problem.message, hint, problem.field)
                number, row, _ = read(part.rows.local, records[index], picked[index] if picked else index)
                line = {
                    "source": part.rows.source.path,
                    "row": number,
                    "reason": str(problem.message),
                    "value": row,
                }
                file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
                self._empty += problem.empty
                self._bad += not problem.empty

    def tell(self) -> None:
        """Report what was left out."""
        if self._empty:
            message = say("Rows without an answer left out: {count}.", count=self._empty)
            self._record.emit(ev.Notice(code="rows_left_out", message=message, level="warning"))
        if self._bad:
            message = say("Bad rows left out: {count}. They are in {file}.", count=self._bad, file=str(self._file))
            self._record.emit(ev.Notice(code="bad_rows_left_out", message=message, level="warning"))


def text_of(
    found: tuple[int, dict[str, Any], Message | None], mapping: Mapping, prompt_format: PromptFormat, tokenizer: Any
) -> tuple[str, RowProblem | None]:
    """(the text that is learned of a row, why there is none)."""
    number, row, unreadable = found
    if unreadable:
        return "", RowProblem("dataset_broken", unreadable, "dataset.path")
    try:
        return prompt_format.training_text(tokenizer, mapping.example(row)), None
    except BadRow as bad:
        return "", RowProblem("bad_row", bad.at(number), bad.field, bad.empty)
    except UserError as failure:
        return "", RowProblem(failure.code, refused_row(number, row, failure), failure.field)


def refused_row(number: int, row: AnyMapping[str, Any], why: UserError) -> Message:
    """Why a row cannot be written as text: the template takes it not."""
    return say("Row {row}: {reason} The row is: {value}", row=number, reason=str(why.message), value=shown(row))


def check_ending(tokenizer: Any, stop_ids: list[int]) -> None:
    """Raises `UserError` when the chat template does not end an answer with a token that stops the model."""
    tail = after_answer(tokenizer)
    if not set(tokenizer(tail, add_special_tokens=False)["input_ids"]) & set(stop_ids):
        raise eos_missing(tokenizer, "dataset.chat_template")


def eos_missing(tokenizer: Any, field: str) -> UserError:
    """The model would not learn to end its answers."""
    return UserError(
        "eos_missing",
        say(
            "No example ends with the token that stops the model, {eos}: its answers would never stop.",
            eos=as_string(tokenizer.eos_token),
        ),
        say("Choose another chat template, for instance chatml, or correct the tokenizer of the model."),
        field,
    )


def trained_tokens(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """The tokens of whole texts, as the trainer makes them before it cuts them to the context length."""
    if hardware.device().kind == "cpu":
        # TRL's own trainer, which Unsloth uses there, wants the end-of-sequence token last, whatever the template.
        eos = str(tokenizer.eos_token)
        texts = [text if text.endswith(eos) else text + eos for text in texts]
    if tokenizer.bos_token and adds_bos(tokenizer):
        texts = [text.removeprefix(tokenizer.bos_token) for text in texts]  # the tokenizer puts it there itself
    backend = getattr(tokenizer, "_tokenizer", None)
    if not (texts and isinstance(backend, Tokenizer)):
        found: list[list[int]] = tokenizer(texts)["input_ids"]
        return found
    tokenizer(texts[0])  # sets the backend up as for a call: nothing padded, nothing cut
    return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=True)]
