"""Counts what pairs and votes compare: sides that are equal or swapped, lengths, and labels of votes."""

from dataclasses import dataclass

from engine.config.fields import FieldError
from engine.dataset.answers import PairMapping
from engine.dataset.column_names import PAIRS
from engine.dataset.mapping import Example, Mapping, Row, shorten
from engine.messages.message import say


@dataclass
class FirstRow:
    """How many rows, the number of the first one, and its answer."""

    count: int = 0
    row: int = 0
    value: str = ""

    def add(self, row: int, value: str, times: int) -> None:
        if not self.count:
            self.row, self.value = row, shorten(value)
        self.count += times


class AnswerCounts:
    """`longer`: pairs whose chosen answer has more characters. `good`, `bad`: votes.

    `scored`: pairs with scores, in columns for the better and the worse answer. `swapped`: those whose scores say
    the contrary; `level`: that are equal.
    """

    def __init__(self) -> None:
        self.pairs = self.scored = 0
        self.mapping: Mapping | None = None  # of the last row
        self.equal, self.longer, self.swapped, self.level = FirstRow(), FirstRow(), FirstRow(), FirstRow()
        self.good, self.bad = FirstRow(), FirstRow()

    def add(self, number: int, row: Row, mapping: Mapping, example: Example, times: int = 1) -> None:
        """Count a row. `number`: of the row, from 1. `times`: how many times training uses it."""
        self.mapping = mapping
        if example.good is not None:
            (self.good if example.good else self.bad).add(number, example.answer, times)
        if example.rejected is None:
            return
        self.pairs += times
        chosen, rejected = example.answer, example.rejected.answer
        if chosen.strip() == rejected.strip():
            self.equal.add(number, chosen, times)
        elif len(chosen) > len(rejected):
            self.longer.add(number, chosen, times)
        margin = mapping.margin(row) if isinstance(mapping, PairMapping) else None
        if margin is not None:
            self.scored += times
            if margin <= 0:
                (self.swapped if margin else self.level).add(number, chosen, times)

    @property
    def compared(self) -> int:
        """How many rows have answers to compare or votes."""
        return self.pairs + self.good.count + self.bad.count

    @property
    def are_swapped(self) -> bool:
        """Whether the scores of most pairs prefer the rejected answer."""
        return 2 * self.swapped.count > self.scored

    def error(self, *, all_votes: bool) -> FieldError | None:
        """Why nothing can be learned from these answers, or None. `all_votes`: no other ones follow."""
        mapping = self.mapping
        if self.pairs and self.equal.count == self.pairs:
            message = say("Chosen and rejected are equal in every row: there is nothing to prefer.")
            return FieldError("dataset.rejected_column", message)
        if self.are_swapped:
            message = say(
                "Chosen and rejected seem to be swapped: in {count} of {scored} rows, the rejected answer has the "
                "higher score.", count=self.swapped.count, scored=self.scored,
            )  # fmt: skip
            return FieldError("dataset.chosen_column", message)
        if isinstance(mapping, PairMapping) and not self.scored and named_in_reverse(mapping):
            message = say(
                "Chosen and rejected seem to be swapped: {chosen} is a name for the worse answers, and {rejected} "
                "for the better ones.", chosen=mapping.output, rejected=mapping.rejected,
            )  # fmt: skip
            return FieldError("dataset.chosen_column", message)
        if all_votes and bool(self.good.count) != bool(self.bad.count):
            message = (
                say("Every vote is good: KTO needs bad answers too. To learn good ones alone, use sft.")
                if self.good.count
                else say("Every vote is bad: KTO needs good answers too.")
            )
            return FieldError("dataset.label_column", message)
        return None


def named_in_reverse(mapping: PairMapping) -> bool:
    """Whether the columns of the better and the worse answers have each other's names."""
    return (mapping.rejected.strip().lower(), mapping.output.strip().lower()) in PAIRS
