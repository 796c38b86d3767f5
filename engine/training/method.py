"""The base class of training methods and what they share; training and the proof use the same code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from collections.abc import Mapping as AnyMapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, TypeVar

import msgspec
from datasets import Dataset
from tokenizers import Tokenizer

from engine.config.run_spec import RunSpec
from engine.dataset.detection import PromptFormatName
from engine.dataset.mapping import BadRow, Example, Kind, Mapping, Row, shorten
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.model import loading
from engine.model.logits import MASKED
from engine.prompting.prompt_format import PromptFormat, adds_bos, check_ending, choose_template, prompt_format_for
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


class Encoded(NamedTuple):
    """A text as the trainer gets it. `ids`: its tokens, before they are cut at the context length. `labels`: after
    that, -100 where nothing is learned. `answer_at`: the position in `ids` of the first learned token, if any."""

    ids: list[int]
    labels: list[int]
    answer_at: int | None


class TrainingMethod(ABC):
    """One way to train, set up for a spec and its kind of data. Raises `UserError` if they do not fit.

    `kind`: how examples are written; `data_kind`: what the rows have. `columns`: those the trainer reads, all of
    text. `sides`: those of them that are whole training texts. `learns_answers`: whether it learns the answers of
    the data, rather than the model's own. `tokenizer`: the given one, with the chosen chat template.
    `instruction_part`, `response_part`: the markers that open a question and an answer; empty if nothing is masked
    by markers.
    """

    trainer_class: ClassVar[Any]
    config_class: ClassVar[Any]
    columns: tuple[str, ...] = ("text",)
    sides: tuple[str, ...] = ("text",)
    learns_answers: ClassVar[bool] = True

    def __init__(
        self, spec: RunSpec, kind: PromptFormatName, tokenizer: Any, stop_ids: list[int], data_kind: Kind
    ) -> None:
        self.spec, self.tokenizer, self.data_kind = spec, tokenizer, data_kind
        self.instruction_part = self.response_part = ""
        if kind == "messages":
            self.tokenizer = choose_template(tokenizer, spec.dataset.chat_template)
            check_ending(self.tokenizer, [*stop_ids, self.tokenizer.eos_token_id])
        self.prompt_format: PromptFormat = prompt_format_for(spec.dataset, kind, self.tokenizer)

    @cached_property
    def bos(self) -> str:
        """The beginning-of-sequence token, if the tokenizer adds it to a text."""
        return str(self.tokenizer.bos_token) if self.tokenizer.bos_token and adds_bos(self.tokenizer) else ""

    def text(self, example: Example) -> str:
        """The full training text of an example. Raises `UserError` when the template rejects it."""
        return self.prompt_format.training_text(self.tokenizer, example)

    def row(self, example: Example) -> dict[str, str]:
        """An example in the columns of the trainer. Raises `UserError`."""
        return {"text": self.text(example)}

    def for_trainer(self, row: dict[str, str]) -> dict[str, str]:
        """A row as the trainer's own preparation needs it."""
        return row

    def texts(self, row: AnyMapping[str, str]) -> list[str]:
        """The whole training texts of a row in the columns of the trainer."""
        return [row[side] for side in self.sides]

    def tokens(self, texts: list[str]) -> list[list[int]]:
        """The tokens of the texts, as the trainer makes them before it truncates them to the context length."""
        texts = [text.removeprefix(self.bos) for text in texts]  # the tokenizer adds it
        backend = getattr(self.tokenizer, "_tokenizer", None)
        if not (texts and isinstance(backend, Tokenizer)):
            found: list[list[int]] = self.tokenizer(texts)["input_ids"] if texts else []
            return found
        self.tokenizer(texts[0])  # sets the backend up: no padding, no truncation
        return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=True)]

    @property
    def divides(self) -> bool:
        """Whether a text longer than the context is learned in pieces. If not, it is cut."""
        return False

    def pieces(self, length: int) -> int:
        """How many rows the trainer gets of a text of this many tokens."""
        return 1

    def encode(self, rows: Sequence[AnyMapping[str, str]]) -> list[tuple[Encoded, ...]]:
        """For each row in the columns of the trainer, its texts as the trainer gets them, one for each side."""
        ids = self.tokens([row[self.sides[0]] for row in rows])
        limit, labels_of = self.spec.model.max_seq_length, self.labels
        labels = labels_of([one[:limit] for one in ids]) if labels_of else [one[:limit] for one in ids]
        # The start of the answer is needed even if it was cut off.
        long = [n for n, one in enumerate(ids) if len(one) > limit] if labels_of else []
        whole = dict(zip(long, labels_of([ids[n] for n in long]), strict=True)) if long and labels_of else {}
        return [(Encoded(one, labels[n], first_learned(whole.get(n, labels[n]))),) for n, one in enumerate(ids)]

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
    def labels(self) -> Labels | None:
        """Makes the labels of a batch of token lists, -100 where masked; None if all tokens are learned."""
        return None

    @property
    def prepared_trainer_class(self) -> Any:
        """`trainer_class`, with another preparation of the rows where this method needs one."""
        return self.trainer_class

    @abstractmethod
    def arguments(self, rows: int, record: EventWriter) -> dict[str, Any]:
        """The arguments of `config_class` that only this method sets, for `rows` rows."""

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """What the class of the trainer needs besides the usual."""
        return {}

    def trainer(self, loaded: loading.Loaded, data: Prepared, config: Any) -> Any:
        """The trainer of `trainer_class`, ready to train."""
        return with_atomic_checkpoints(self.prepared_trainer_class)(
            model=loaded.model,
            processing_class=self.tokenizer,
            train_dataset=data.train,
            eval_dataset=data.held_out,
            args=config,
            **self.trainer_arguments,
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
    """Why a row is left out. `empty`: it only has no answer, or none that is better."""

    code: str
    message: Message
    field: str
    empty: bool = False


def first_learned(labels: Sequence[int]) -> int | None:
    """The position of the first label that is learned."""
    return next((at for at, label in enumerate(labels) if label != MASKED), None)


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
        return RowProblem("tie" if bad.tied else "bad_row", bad.describe(number), bad.field, bad.empty)
    except UserError as why:  # the template rejects it
        message = say(
            "Row {row}: {reason} The row is: {value}", row=number, reason=str(why.message), value=shorten(row)
        )
        return RowProblem(why.code, message, why.field)
