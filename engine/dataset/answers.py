"""Maps rows whose answers are compared, voted on, or not there: pairs, votes, and prompts for rewards."""

import re
from collections.abc import Mapping as AnyMapping
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import msgspec

from engine.dataset.column_names import ANSWER_KEYS, SCORE_KEYS
from engine.dataset.mapping import BadRow, Example, Mapping, Row, Side, columns_in, fill, is_template, shorten
from engine.dataset.mapping import require_columns as require
from engine.dataset.turn_shapes import as_tools, as_turns, has_texts_as_turns
from engine.dataset.turns import as_string, is_conversation, normalize_turns, parse_json
from engine.messages.message import N_

GOOD = frozenset(("true", "1", "yes", "good", "up", "upvote", "thumbs_up", "like", "desirable", "👍", "好", "赞"))
BAD = frozenset(
    ("false", "0", "-1", "no", "bad", "down", "downvote", "thumbs_down", "dislike", "undesirable", "👎", "差", "踩")
)
PROMPT_FIELD, CHOSEN_FIELD, REJECTED_FIELD, LABEL_FIELD = (
    f"dataset.{name}_column" for name in ("instruction", "chosen", "rejected", "label")
)
_SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|User|Assistant|用户|助手)[:：][ \t]*")
_WORD = re.compile(r".*\s", re.DOTALL)


class _Answer(NamedTuple):
    """An answer in a row: the column it is in, and its value."""

    column: str
    value: Any


class _Prompted(Mapping, frozen=True, kw_only=True):
    """A row with a prompt. `instruction`: its column, of text or turns; empty if the answers begin with it."""

    def _turns(self, value: Any) -> list[Any]:
        """The turns in a value; empty if it is of another kind. A single turn may be no list."""
        value = [value] if isinstance(value, AnyMapping) else value
        found = as_turns(value, dict(self.roles))
        return found if is_conversation(found) and not has_texts_as_turns(value) else []

    def _asked(self, row: Row) -> Any:
        """What fills the prompt: turns, or text."""
        require(row, self.instruction, PROMPT_FIELD)
        value = row.get(self.instruction) if not is_template(self.instruction) else None
        return self._turns(value) or fill(self.instruction, row)

    def _side(self, row: Row, answer: _Answer, whole: list[Any] | None = None) -> Side:
        """The text of a prompt and an answer. `whole`: the conversation, if the answer has all of it."""
        asked = self._asked(row)
        said = whole or self._turns(answer.value)
        if not said and not isinstance(asked, list):
            plain = Mapping(
                kind="alpaca", instruction=self.instruction, input=self.input, output=answer.column,
                system=self.system,
            )  # fmt: skip
            return Side({**row, answer.column: answer.value}, plain)
        said = said or [{"role": "assistant", "content": answer.value}]
        chat = Mapping(
            kind="messages", turns=(answer.column,), system=self.system, tools=self.tools, roles=self.roles
        )
        return Side({**row, answer.column: _joined(asked, said)}, chat)

    def _example(self, side: Side, field: str) -> Example:
        """The example of one side. `field`: the setting to blame for its answer. Raises `BadRow`."""
        try:
            found = side.mapping.example(side.row)
        except BadRow as bad:
            if bad.field in ("dataset.output_column", "dataset.messages_column"):
                bad.field = field
            raise
        if found.dropped_turns:
            raise BadRow(
                field, N_("Row {row} has no answer: {column} is empty."),
                empty=True, column=side.mapping.turns[0],
            )  # fmt: skip
        return found


class PairMapping(_Prompted, frozen=True, kw_only=True):
    """A better and a worse answer. `output`, `rejected`: their columns, if the columns say which is which.

    Else `answers` are two columns, or one with a list, and the better one has the higher of the `scores`, or is
    named by the column `winner`, with one of the two values `winners`.
    """

    rejected: str = ""
    answers: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    winner: str = ""
    winners: tuple[str, str] = ("", "")

    @property
    def fillers(self) -> tuple[str, ...]:
        return (
            self.instruction, self.output, self.rejected, *self.answers, self.winner,
            *(self.scores if self.answers else ()),
        )  # fmt: skip

    @property
    def columns(self) -> set[str]:
        return super().columns | set(self.scores)

    def example(self, row: Row) -> Example:
        """The example with the chosen answer, which has the one with the rejected answer. Raises `BadRow`."""
        chosen, rejected = self.sides(row)
        found = self._example(chosen, CHOSEN_FIELD)
        return msgspec.structs.replace(found, rejected=self._example(rejected, REJECTED_FIELD))

    def sides(self, row: Row) -> tuple[Side, ...]:
        better, worse = self._answers(row)
        if self.instruction or self._turns(better.value) or self._turns(worse.value):
            return self._side(row, better), self._side(row, worse)
        texts = as_string(better.value), as_string(worse.value)
        dialogues = [_dialogue(text) for text in texts]
        if all(dialogues):
            return self._side(row, better, dialogues[0]), self._side(row, worse, dialogues[1])
        start = _WORD.match(_common_start(*texts))
        if not start:
            raise BadRow(
                PROMPT_FIELD,
                N_("Row {row} has no prompt: its two answers begin differently. Name the column with the prompts."),
            )
        prompted = msgspec.structs.replace(self, instruction="prompt")
        with_prompt = {**row, "prompt": start[0].strip()}
        first, second = (
            prompted._side(with_prompt, _Answer(answer.column, text[start.end() :]))
            for answer, text in zip((better, worse), texts, strict=True)
        )
        return first, second

    def margin(self, row: Row) -> float | None:
        """By how much the scores prefer the chosen answer; None if its columns are not scored."""
        if self.answers or not self.scores:
            return None
        found = [_number(row.get(name)) for name in self.scores]
        return None if None in found else found[0] - found[1]  # type: ignore[operator]

    def _answers(self, row: Row) -> tuple[_Answer, _Answer]:
        """(the better answer, the worse one). Raises `BadRow`."""
        if not self.answers:
            require(row, self.output, CHOSEN_FIELD)
            require(row, self.rejected, REJECTED_FIELD)
            return self._named(row, self.output, "chosen"), self._named(row, self.rejected, "rejected")
        for name in (*self.answers, *self.scores, self.winner):
            require(row, name, CHOSEN_FIELD)
        if self.winner:
            first, second = (_Answer(name, row[name]) for name in self.answers)
            value = plain(row[self.winner])
            if value not in self.winners:
                raise _tie(self.winner, row[self.winner])
            return (first, second) if value == self.winners[0] else (second, first)
        found, scores = self._scored(row)
        best, worst = max(scores), min(scores)
        if best == worst:
            raise _tie(self.scores[0] if self.scores else self.answers[0], best)
        return found[scores.index(best)], found[scores.index(worst)]

    def _named(self, row: Row, filler: str, role: str) -> _Answer:
        return _Answer(role, fill(filler, row)) if is_template(filler) else _Answer(filler, row.get(filler))

    def _scored(self, row: Row) -> tuple[list[_Answer], list[float]]:
        """(the answers, their scores). Raises `BadRow`."""
        column = self.answers[0]
        if len(self.answers) > 1:
            values, scores = [row[name] for name in self.answers], [row[name] for name in self.scores]
        else:
            values = _items(row[column])
            scores = _items(row[self.scores[0]]) if self.scores else [_key(one, SCORE_KEYS) for one in values]
        numbers = [_number(score) for score in scores]
        if len(values) < 2 or len(numbers) != len(values) or None in numbers:
            raise BadRow(
                CHOSEN_FIELD, N_("Row {row}: {column} must have two answers or more, each with a score: {value}"),
                column=column, value=shorten(row[column]),
            )  # fmt: skip
        sign = -1 if _is_rank(self.scores[0] if self.scores else values[0]) else 1
        columns = self.answers if len(self.answers) > 1 else (column,) * len(values)
        found = [
            _Answer(name, _key(value, ANSWER_KEYS) if isinstance(value, AnyMapping) else value)
            for name, value in zip(columns, values, strict=True)
        ]
        return found, [sign * number for number in numbers if number is not None]


class VoteMapping(_Prompted, frozen=True, kw_only=True):
    """An answer, or a whole chat, in `output`, and in the column `label` whether it was good."""

    label: str = ""

    @property
    def fillers(self) -> tuple[str, ...]:
        return (self.instruction, self.output, self.label)

    def example(self, row: Row) -> Example:
        good = self._vote(row)
        return msgspec.structs.replace(self._example(self.sides(row)[0], "dataset.output_column"), good=good)

    def sides(self, row: Row) -> tuple[Side, ...]:
        require(row, self.output, "dataset.output_column")
        if is_template(self.output):
            return (self._side(row, _Answer("completion", fill(self.output, row))),)
        value = row.get(self.output)
        dialogue = _dialogue(as_string(value)) if not self.instruction and not self._turns(value) else None
        return (self._side(row, _Answer(self.output, value), dialogue),)

    def _vote(self, row: Row) -> bool:
        """Whether the answer was good. Raises `BadRow`."""
        require(row, self.label, LABEL_FIELD)
        found = plain(row.get(self.label))
        if found in GOOD:
            return True
        if found in BAD:
            return False
        raise BadRow(
            LABEL_FIELD, N_("Row {row}: {column} must be true or false, not {value}."),
            column=self.label, value=shorten(row.get(self.label)),
        )  # fmt: skip


class PromptMapping(_Prompted, frozen=True, kw_only=True):
    """A prompt in `instruction`, as text or turns, and its right answer in `output`, if there is one.

    The answer of a whole chat is its last turn.
    """

    @property
    def fillers(self) -> tuple[str, ...]:
        return (self.instruction,)

    @property
    def columns(self) -> set[str]:
        return super().columns | set(columns_in(self.output))

    def example(self, row: Row) -> Example:
        asked, answer = self._asked(row), self._answer(row)
        if not isinstance(asked, list):
            if not asked.strip():
                raise self._no_prompt()
            pair = {"instruction": asked, "input": fill(self.input, row), "output": answer}
            system = fill(self.system, row)
            return Example(pair=pair | {"system": system} if system else pair)
        turns, last = self._split(asked)
        system = fill(self.system, row)
        if system and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": system})
        tools = as_tools(row.get(self.tools)) if self.tools else None
        answer, dropped = (answer, bool(last)) if self.output else (last, False)
        return Example(turns=[*turns, _assistant(answer)], tools=tools, dropped_turns=int(dropped))

    def sides(self, row: Row) -> tuple[Side, ...]:
        asked = self._asked(row)
        if not isinstance(asked, list):
            return (Side(row, Mapping(kind="prompts", instruction=self.instruction, input=self.input,
                                      system=self.system)),)  # fmt: skip
        count = len(self._split(asked)[0])
        chat = Mapping(kind="prompts", turns=(self.instruction,), system=self.system, tools=self.tools,
                       roles=self.roles)  # fmt: skip
        return (Side({**row, self.instruction: asked[:count]}, chat),)

    def _split(self, asked: Sequence[Any]) -> tuple[list[Any], str]:
        """(the turns up to the last question, the answer after it)."""
        turns = normalize_turns(asked)
        last = ""
        while turns and turns[-1]["role"] == "assistant":
            last = str(turns.pop()["content"])
        if not any(turn["role"] in ("user", "tool") for turn in turns):
            raise self._no_prompt()
        return turns, last

    def _answer(self, row: Row) -> str:
        """The right answer; empty if there is none."""
        return fill(self.output, row) if self.output else ""

    def _no_prompt(self) -> BadRow:
        return BadRow(
            PROMPT_FIELD, N_("Row {row} has no prompt: {column} is empty."), empty=True, column=self.instruction
        )


def plain(value: Any) -> str:
    """A vote or a choice as short text in lower case: 1.0 and True are written as 1 and true."""
    return as_string(value).strip().lower().removesuffix(".0")


def _assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def _joined(asked: Any, said: list[Any]) -> list[Any]:
    """The turns of a prompt and of an answer, which may begin with the prompt already."""
    opens = normalize_turns(said[:1])[0]["role"] in ("user", "system")
    if not isinstance(asked, list):
        return said if opens or not asked.strip() else [{"role": "user", "content": asked}, *said]
    begins = normalize_turns(said[: len(asked)]) == normalize_turns(asked)
    return said if begins else [*asked, *said]


def _dialogue(text: str) -> list[dict[str, str]] | None:
    """The turns of a text such as "Human: ... Assistant: ...", None if it is none."""
    parts = _SPEAKER.split(text)
    if len(parts) < 5 or parts[0].strip():
        return None
    turns = [
        {"role": "assistant" if name in ("Assistant", "助手") else "user", "content": said.strip()}
        for name, said in zip(parts[1::2], parts[2::2], strict=True)
    ]
    return turns if turns[0]["role"] == "user" else None


def is_dialogue(value: Any) -> bool:
    return isinstance(value, str) and _dialogue(value) is not None


def _common_start(one: str, other: str) -> str:
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(sign for sign, _ in pairs)


def _tie(column: str, value: Any) -> BadRow:
    return BadRow(
        CHOSEN_FIELD, N_("Row {row} has no better answer: {column} is {value}."),
        empty=True, tied=True, column=column, value=shorten(value),
    )  # fmt: skip


def _items(value: Any) -> list[Any]:
    found = parse_json(value)
    return list(found) if isinstance(found, (list, tuple)) else []


def _key(value: Any, keys: Sequence[str]) -> Any:
    """The value of the first of these keys."""
    return next((value[key] for key in keys if value.get(key) is not None), None) if _is_object(value) else None


def _is_object(value: Any) -> bool:
    return isinstance(value, AnyMapping)


def _is_rank(named: Any) -> bool:
    """Whether a column, or an answer with a key for it, gives ranks, of which the lowest is the best."""
    if _is_object(named):
        return next((key for key in SCORE_KEYS if named.get(key) is not None), "") == "rank"
    return str(named).lower().startswith("rank")


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
