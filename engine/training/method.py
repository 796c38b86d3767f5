"""The base class of training methods and what they share; training and the proof use the same code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import msgspec
from datasets import Dataset

from engine.config.run_spec import RunSpec
from engine.dataset.detection import PromptFormatName
from engine.dataset.mapping import BadRow, Example, Mapping, Row, shorten
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.model import loading
from engine.prompting.prompt_format import PromptFormat, check_ending, choose_template, prompt_format_for
from engine.protocol import events as ev
from engine.runtime.event_writer import EventWriter
from engine.training.row_check import STOPS, Finding, Part, check_row
from engine.training.trainer import with_atomic_checkpoints

FEW_ROWS = 5_000  # below this, starting processes costs more than they save

T = TypeVar("T")
Labels = Callable[[list[list[int]]], list[list[int]]]


def processes(spec: RunSpec, rows: int) -> int | None:
    """How many processes prepare the data; None means only this one."""
    wanted = spec.training.dataset_num_proc
    return wanted if rows >= FEW_ROWS and wanted > 1 else None


class TrainingMethod(ABC):
    """One way to train, set up for a spec and its kind of data. Raises `UserError` if they do not fit.

    `columns`: those the trainer reads. `tokenizer`: the given one, with the chosen chat template.
    `instruction_part`, `response_part`: the markers that open a question and an answer; empty if nothing is masked.
    """

    trainer_class: ClassVar[Any]
    config_class: ClassVar[Any]
    columns: ClassVar[tuple[str, ...]]

    def __init__(self, spec: RunSpec, kind: PromptFormatName, tokenizer: Any, stop_ids: list[int]) -> None:
        self.spec, self.tokenizer = spec, tokenizer
        self.instruction_part = self.response_part = ""
        if kind == "messages":
            self.tokenizer = choose_template(tokenizer, spec.dataset.chat_template)
            check_ending(self.tokenizer, [*stop_ids, self.tokenizer.eos_token_id])
        self.prompt_format: PromptFormat = prompt_format_for(spec.dataset, kind, self.tokenizer)

    def text(self, example: Example) -> str:
        """The full training text of an example. Raises `UserError` when the template rejects it."""
        return self.prompt_format.training_text(self.tokenizer, example)

    @abstractmethod
    def row(self, example: Example) -> dict[str, str]:
        """An example in the columns of the trainer. Raises `UserError`."""

    @abstractmethod
    def tokens(self, texts: list[str]) -> list[list[int]]:
        """The tokens of the texts, as the trainer makes them before it truncates them to the context length."""

    def decode(self, tokens: list[list[int]]) -> list[str]:
        """The texts that the tokens stand for, with special tokens."""
        texts: list[str] = self.tokenizer.batch_decode(tokens, clean_up_tokenization_spaces=False)
        return texts

    def lacking(self, row: Row, mapping: Mapping, text: str, decoded: str) -> list[Finding]:
        """What of a row its training text lacks. `decoded`: the text as decoded from its tokens."""
        return check_row(row, mapping, text, decoded, last_answer_only=self.spec.dataset.last_answer_only)

    def would_write(self, row: Row, mapping: Mapping, part: Part | None, changes: dict[str, Any]) -> bool:
        """Whether the row's text has this part with other dataset settings; None: whether there is a text."""
        data = msgspec.structs.replace(self.spec.dataset, **changes)
        kind = "messages" if data.written_with == "chat_template" else self.prompt_format.format
        tokenizer = self.tokenizer
        try:
            if "chat_template" in changes:  # a template by name changes the tokenizer
                tokenizer = choose_template(deepcopy(tokenizer), data.chat_template)
            text = prompt_format_for(data, kind, tokenizer).training_text(tokenizer, mapping.example(row))
        except (BadRow, UserError):
            return False
        found = check_row(row, mapping, text, last_answer_only=data.last_answer_only)
        return part not in {finding.part for finding in found}

    def remember_masked(self, text: str, masked: tuple[int, ...]) -> None:
        """Mask answers of a training text, counted from 0, in `labels` and in the trainer. Raises `UserError`."""
        raise UserError(
            "mask_unsupported",
            say("A turn has weight: 0 or train: false. This training method cannot leave single turns out."),
            None,
            "training.method",
        )

    @property
    @abstractmethod
    def labels(self) -> Labels | None:
        """Makes the labels of a batch of token lists, -100 where masked; None if all tokens are learned."""

    @abstractmethod
    def arguments(self, rows: int, record: EventWriter) -> dict[str, Any]:
        """The arguments of `config_class` that only this method sets, for `rows` rows."""

    def trainer(self, loaded: loading.Loaded, data: Prepared, config: Any) -> Any:
        """The trainer of `trainer_class`, ready to train."""
        return with_atomic_checkpoints(self.trainer_class)(
            model=loaded.model,
            processing_class=self.tokenizer,
            train_dataset=data.train,
            eval_dataset=data.held_out,
            args=config,
        )

    @abstractmethod
    def check(self, trainer: Any, data: Prepared, stop_ids: list[int], record: EventWriter) -> ev.DatasetReady:
        """Count and check the trainer's rows. Raises `UserError` if training on them cannot work."""


@dataclass
class Prepared:
    """Rows in the trainer's columns, and the method that made them. `columns`: of the original data."""

    train: Dataset
    held_out: Dataset | None
    columns: tuple[str, ...]
    example_raw: str
    method: TrainingMethod


class RowProblem(msgspec.Struct, frozen=True):
    """Why a row is left out. `empty`: it only has no answer."""

    code: str
    message: Message
    field: str
    empty: bool = False


def incomplete(number: int, findings: list[Finding], spec: RunSpec) -> RowProblem | None:
    """Why a row cannot be trained on although it gives a text, or None. `number`: of the row, from 1."""
    stop = next((finding for finding in findings if finding.part in STOPS), None)
    if stop is None or spec.dataset.missing_parts == "accept":
        return None
    return RowProblem("row_incomplete", stop.describe(number), "dataset.missing_parts")


def convert(
    number: int, row: Row, mapping: Mapping, make: Callable[[Example], T]
) -> tuple[Example, T] | RowProblem:
    """(the example in a row, `make` of it), or why the row is left out. `number`: of the row, from 1."""
    try:
        example = mapping.example(row)
        return example, make(example)
    except BadRow as bad:
        return RowProblem("bad_row", bad.describe(number), bad.field, bad.empty)
    except UserError as why:  # the template rejects it
        message = say(
            "Row {row}: {reason} The row is: {value}", row=number, reason=str(why.message), value=shorten(row)
        )
        return RowProblem(why.code, message, why.field)
