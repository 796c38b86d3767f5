"""The base of methods whose rows have a prompt and answers: pairs, votes. Their texts are tokenised here.

TRL's trainers would do it themselves, each in its own way. With the code of the proof, what the proof shows is what
is trained on; the tokens are those of TRL for the same rows as chats (a test compares them).
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from datasets import Dataset

from engine.dataset.mapping import Example
from engine.messages.message import say
from engine.model.logits import MASKED
from engine.protocol import events as ev
from engine.runtime.event_writer import EventWriter
from engine.training.check_labels import SHOWN_CHARACTERS, ends_with_stop, nothing_learned, too_many_cut
from engine.training.method import Encoded, Prepared, TrainingMethod, processes


class PairMethod(TrainingMethod):
    """`columns`: the prompt, then whole texts that begin with it: the chosen answer, and the rejected one."""

    columns: tuple[str, ...] = ("prompt", "chosen", "rejected")
    sides: tuple[str, ...] = ("chosen", "rejected")

    def row(self, example: Example) -> dict[str, str]:
        assert example.rejected is not None
        return {
            "prompt": self.prompt_format.question_text(self.tokenizer, example),
            "chosen": self.text(example),
            "rejected": self.text(example.rejected),
        }

    @property
    def adds_special_tokens(self) -> bool:
        """Whether the tokenizer adds them to a text. A chat template has written them."""
        return self.prompt_format.format != "messages"

    def tokens(self, texts: list[str]) -> list[list[int]]:
        if self.adds_special_tokens:
            return super().tokens(texts)
        found: list[list[int]] = self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        return found

    def answer_starts(self, prompt: Sequence[int], whole: Sequence[Sequence[int]]) -> list[int]:
        """Where the answers begin in the tokens of the texts: where one of them first parts from the prompt's."""
        return [min(common_start(prompt, one) for one in whole)] * len(whole)

    def encode(self, rows: Sequence[Mapping[str, str]]) -> list[tuple[Encoded, ...]]:
        names = ("prompt", *self.sides)
        ids = iter(self.tokens([row[name] for row in rows for name in names]))
        limit = self.spec.model.max_seq_length
        found = []
        for _ in rows:
            prompt, *whole = (next(ids) for _ in names)
            found.append(tuple(
                Encoded(one, ([MASKED] * start + one[start:])[:limit], start if start < len(one) else None)
                for one, start in zip(whole, self.answer_starts(prompt, whole), strict=True)
            ))  # fmt: skip
        return found

    def tokenize(self, rows: Dataset) -> Dataset:
        """The rows with their tokens, in the columns that TRL's own preparation makes."""

        def add_ids(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
            columns = [self.token_columns(sides) for sides in self.encode(single_rows(batch))]
            return {name: [one[name] for one in columns] for name in columns[0]}

        found = rows.map(add_ids, batched=True, num_proc=processes(self.spec, len(rows)), desc="Tokenizing")
        return found.filter(self.has_answers, desc="Leaving out prompts that fill the context")

    def has_answers(self, row: dict[str, Any]) -> bool:
        """Whether a part of the answers is left in the context length: TRL leaves other rows out."""
        return len(row["prompt_ids"]) < self.spec.model.max_seq_length

    def token_columns(self, sides: tuple[Encoded, ...]) -> dict[str, list[int]]:
        """The token columns of a row, from its texts."""
        start = min(map(answer_start, sides))
        found = {"prompt_ids": sides[0].ids[:start]}
        for name, side in zip(self.sides, sides, strict=True):
            found[f"{name}_ids"] = side.ids[start:]
        return found

    def arguments(self, rows: int, record: EventWriter) -> dict[str, Any]:
        return {"max_length": self.spec.model.max_seq_length, "dataset_num_proc": processes(self.spec, rows)}

    @property
    def prepared_trainer_class(self) -> Any:
        tokenize = self.tokenize

        def prepare(trainer: Any, dataset: Dataset, *args: Any, **named: Any) -> Dataset:
            return tokenize(dataset)

        return type("Prepared", (self.trainer_class,), {"_prepare_dataset": prepare})

    def check(self, trainer: Any, data: Prepared, stop_ids: list[int], record: EventWriter) -> ev.DatasetReady:
        """Count the rows. Raises `UserError` if too many are cut, or no answer is left."""
        stops, limit = set(stop_ids), self.spec.model.max_seq_length
        tokens = learned = cut = full = 0
        first: tuple[Encoded, ...] = ()
        for batch in data.train.iter(1000):
            for sides in self.encode(single_rows(batch)):
                first = first or sides
                tokens += sum(len(side.labels) for side in sides)
                kept = [[label for label in side.labels if label != MASKED] for side in sides]
                learned += sum(map(len, kept))
                cut += any(len(side.ids) > limit and not ends_with_stop(one, stops)
                           for side, one in zip(sides, kept, strict=True))  # fmt: skip
                full += not all(kept)
        if not learned:
            raise nothing_learned(self.spec)
        if cut > self.spec.dataset.max_cut_share * len(data.train):
            raise too_many_cut(self.spec, cut, len(data.train))
        if full:
            message = say("Rows whose prompt alone fills the context length, left out: {count}.", count=full)
            record.emit(ev.Notice(code="prompts_too_long", message=message, level="warning"))
        decode = self.tokenizer.decode
        return ev.DatasetReady(
            rows=len(data.train) - full,
            eval_rows=len(data.held_out) if data.held_out is not None else 0,
            format=self.prompt_format.format,
            columns=data.columns,
            tokens=tokens,
            learned_tokens=learned,
            truncated_rows=cut,
            instruction_part="",
            response_part="",
            example_raw=data.example_raw[:SHOWN_CHARACTERS],
            example_text=decode(first[0].ids[:limit])[:SHOWN_CHARACTERS],
            example_learned="\n".join(
                decode([label for label in side.labels if label != MASKED]) for side in first
            )[:SHOWN_CHARACTERS],
        )  # fmt: skip


def single_rows(batch: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """The rows of a batch of columns."""
    return [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]


def answer_start(side: Encoded) -> int:
    """Where the answer begins in a text's tokens; their number if there is none."""
    return len(side.ids) if side.answer_at is None else side.answer_at


def common_start(one: Sequence[object], other: Sequence[object]) -> int:
    """How many first tokens, or characters, two texts share."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
