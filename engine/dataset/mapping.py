"""Maps a row to a training example: which column, template or constant fills which role."""

import re
from collections.abc import Mapping as AnyMapping
from typing import Any, Literal, NamedTuple

import msgspec

from engine.config.run_spec import DatasetSpec
from engine.dataset.turn_shapes import as_tools, as_turns, is_masked
from engine.dataset.turns import (
    KNOWN_ROLES,
    Turn,
    as_string,
    foreign_part,
    is_turn,
    normalize_turns,
    to_last_answer,
)
from engine.messages.message import N_, Message, say

Row = AnyMapping[str, Any]
# alpaca: pairs of question and answer; messages: turns; preference: a chosen and a rejected answer; votes: an
# answer and whether it was good; prompts: nothing but the question.
Kind = Literal["alpaca", "messages", "text", "preference", "votes", "prompts", "unknown"]

MAX_SHOWN = 60  # characters of a bad value
_COLUMN = re.compile(r"\{([^{}]+)\}")


class Example(msgspec.Struct, frozen=True):
    """One training example: a pair keyed by the placeholders of the prompt text, or turns, or plain text.

    `rejected`: in preference data, the same example with the rejected answer. `good`: in votes, whether the answer
    was good. `tools`: the tool descriptions of a chat, as chat templates expect them. `masked`: the answers that
    shall not be learned, counted from 0. `dropped_turns`: how many turns of the row are not in `turns`. A prompt
    without an answer has an empty one.
    """

    pair: dict[str, str] = {}
    turns: list[Turn] = []
    text: str = ""
    tools: list[Any] | None = None
    rejected: "Example | None" = None
    good: bool | None = None
    masked: tuple[int, ...] = ()
    dropped_turns: int = 0

    @property
    def answer(self) -> str:
        """The last answer; empty if there is none."""
        return str(self.turns[-1]["content"]) if self.turns else self.pair.get("output", "")

    def as_chat(self) -> list[Turn]:
        """The turns, or the pair as a chat; the input follows the instruction after a blank line."""
        if self.turns:
            return self.turns
        asked = "\n\n".join(part for name in ("instruction", "input") if (part := self.pair.get(name, "")).strip())
        system = self.pair.get("system", "")
        first = [{"role": "system", "content": system}] if system else []
        answer = {"role": "assistant", "content": self.pair["output"]}
        return [*first, {"role": "user", "content": asked}, answer]


class BadRow(Exception):
    """A row that gives no example. `empty`: it only lacks an answer. `tied`: no answer is better. `field`: the
    setting to blame."""

    def __init__(
        self, field: str, template: str, *, empty: bool = False, tied: bool = False, **values: Any
    ) -> None:
        self.field, self.empty, self.tied = field, empty, tied
        self._template, self.values = template, values
        super().__init__(template)

    def describe(self, row: int) -> Message:
        """What is wrong. `row`: its number from 1."""
        return say(self._template, row=row, **self.values)


def shorten(value: Any) -> str:
    """A value as text of at most `MAX_SHOWN` characters, for a message."""
    text = as_string(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def is_template(filler: str) -> bool:
    """Whether a role is filled by a template or a constant rather than by one column."""
    return filler.startswith("=") or bool(_COLUMN.search(filler))


def columns_in(filler: str) -> list[str]:
    """The columns that a role needs."""
    if is_template(filler):
        return _COLUMN.findall(filler)
    return [filler] if filler else []


def fill(filler: str, row: Row) -> str:
    """The text of a role: the column's value, the filled-in template, or the constant after "="."""
    if not is_template(filler):
        return as_string(row.get(filler)) if filler else ""
    template = filler.removeprefix("=").replace("\\n", "\n").replace("\\t", "\t")
    if filler.startswith("="):
        template = template.removeprefix(" ")

    def cell(match: re.Match[str]) -> str:
        # In a constant, braces that name no column are plain text.
        return as_string(row[match[1]]) if match[1] in row else "" if not filler.startswith("=") else match[0]

    return _COLUMN.sub(cell, template)


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """Which column fills which role; a role can also be a template or a constant (see `fill`).

    `turns`: the columns whose turns, concatenated, are the conversation. `tools`: the column with the tools.
    `history`: the column with the turns before the question of a pair. `roles`: (name, role) of names in turns.
    Pairs, votes and prompts have subclasses, in `engine.dataset.answers`.
    """

    kind: Kind
    instruction: str = ""
    input: str = ""
    output: str = ""
    system: str = ""
    text: str = ""
    turns: tuple[str, ...] = ()
    tools: str = ""
    history: str = ""
    roles: tuple[tuple[str, str], ...] = ()

    def example(self, row: Row) -> Example:
        """The training example of a row. Raises `BadRow`."""
        match self.kind:
            case "messages":
                return self._with_history(row) if self.history else self._chat(row)
            case "text":
                return self._text(row)
            case "alpaca":
                return self._pair(row)
        raise ValueError(f"no example can be made of {self.kind}")

    def sides(self, row: Row) -> tuple["Side", ...]:
        """The texts that are made of a row, one unless it is a pair. Raises `BadRow`."""
        return (Side(row, self),)

    def _pair(self, row: Row) -> Example:
        require_columns(row, self.instruction, "dataset.instruction_column")
        require_columns(row, self.output, "dataset.output_column")
        answer = fill(self.output, row)
        if not answer.strip() or all(row.get(name) in (None, "") for name in columns_in(self.output)):
            raise BadRow(
                "dataset.output_column", N_("Row {row} has no answer: {column} is empty."),
                empty=True, column=self.output,
            )  # fmt: skip
        pair = {"instruction": fill(self.instruction, row), "input": fill(self.input, row), "output": answer}
        if system := fill(self.system, row):
            pair["system"] = system
        return Example(pair=pair)

    def _text(self, row: Row) -> Example:
        require_columns(row, self.text, "dataset.text_column")
        text = fill(self.text, row)
        if not text.strip():
            raise BadRow(
                "dataset.text_column", N_("Row {row} has no text: {column} is empty."),
                empty=True, column=self.text,
            )  # fmt: skip
        for name in columns_in(self.text):
            if isinstance(row.get(name), (list, dict)):
                raise BadRow(
                    "dataset.text_column", N_("Row {row}: {column} is not text: {value}"),
                    column=name, value=shorten(row[name]),
                )  # fmt: skip
        return Example(text=text)

    @property
    def fillers(self) -> tuple[str, ...]:
        """What fills the roles of which a row needs all."""
        return (self.instruction, self.output, self.text, *self.turns)

    @property
    def columns(self) -> set[str]:
        """The columns that are used."""
        fillers = (*self.fillers, self.input, self.system, self.tools, self.history)
        return {name for one in fillers for name in columns_in(one)}

    def raw_turns(self, row: Row) -> list[Any]:
        """The turns of a row with role and content, and all their other keys. Raises `BadRow`."""
        turns: list[Any] = []
        for name in self.turns:
            require_columns(row, name, "dataset.messages_column")
            found = as_turns(row.get(name), dict(self.roles))
            check_turns(name, found)
            turns += found or []
        for number, turn in enumerate(turns, 1):
            if kind := foreign_part(turn):
                raise BadRow(
                    "dataset.messages_column",
                    N_("Row {row}: turn {turn} has a part of type {type}. Loris trains on text alone."),
                    turn=number, type=shorten(kind),
                )  # fmt: skip
        return turns

    def _with_history(self, row: Row) -> Example:
        """A pair as a chat, after the earlier turns in its history."""
        earlier = as_turns(row.get(self.history), dict(self.roles))
        check_turns(self.history, earlier)
        first, *rest = self._pair(row).as_chat()
        system = [first] if first["role"] == "system" else []
        return Example(turns=[*system, *normalize_turns(earlier or []), *([] if system else [first]), *rest])

    def _chat(self, row: Row) -> Example:
        turns = self.raw_turns(row)
        normal = normalize_turns(turns)
        made = to_last_answer(normal)
        if unknown := [turn["role"] for turn in made or normal if turn["role"] not in KNOWN_ROLES]:
            raise BadRow(
                "dataset.messages_column",
                N_('Row {row}: "{column}" has a turn of "{role}". Templates know these roles: {roles}.'),
                column=" + ".join(self.turns), role=shorten(unknown[0]), roles="system, user, assistant, tool",
                unknown="\n".join(dict.fromkeys(unknown)),
            )  # fmt: skip
        if not made:
            raise BadRow(
                "dataset.messages_column", N_("Row {row} has no answer: {column} has no turn of the assistant."),
                empty=True, column=" + ".join(self.turns),
            )  # fmt: skip
        answers = [turn for turn in turns[: len(made)] if normalize_turns([turn])[0]["role"] == "assistant"]
        masked = tuple(number for number, turn in enumerate(answers) if is_masked(turn))
        if len(masked) == len(answers):
            raise BadRow(
                "dataset.messages_column", N_("Row {row} has no answer to learn: each has weight: 0 or the like."),
                empty=True, column=" + ".join(self.turns),
            )  # fmt: skip
        dropped = len(turns) - len(made)
        system = self._system(row)
        if system and made[0]["role"] != "system":
            made.insert(0, {"role": "system", "content": system})
        tools = as_tools(row.get(self.tools)) if self.tools else None
        return Example(turns=made, tools=tools, masked=masked, dropped_turns=dropped)

    def _system(self, row: Row) -> str:
        """The system text; Gemini writes it in parts."""
        found = row.get(self.system) if self.system else None
        if isinstance(found, AnyMapping) and "parts" in found:
            [turn] = as_turns([{"role": "system", **found}])
            return as_string(turn["content"])
        return fill(self.system, row)


class Side(NamedTuple):
    """A text that is made of a row: the mapping of its columns, in a row that has them."""

    row: Row
    mapping: Mapping


def require_columns(row: Row, filler: str, field: str) -> None:
    """Raises `BadRow` if the row lacks a column that other rows have."""
    if filler.startswith("="):
        return
    for name in columns_in(filler):
        if name not in row:
            raise BadRow(
                field, N_('Row {row} has no column "{column}", as other rows have. It has: {columns}.'),
                column=name, columns=shorten(", ".join(map(str, row))),
            )  # fmt: skip


def check_turns(column: str, value: Any) -> None:
    """Raises `BadRow` if the value is not a conversation. An empty one passes: it only lacks an answer."""
    field = "dataset.messages_column"
    if not value:
        return
    if not isinstance(value, list):
        raise BadRow(
            field, N_('Row {row}: "{column}" must be a list of turns, each with role and content; it has {value}.'),
            column=column, value=shorten(value),
        )  # fmt: skip
    bad = next((turn for turn in value if not is_turn(turn)), None)
    if bad is not None or None in value:
        found = ", ".join(map(str, bad)) if isinstance(bad, dict) else type(bad).__name__
        raise BadRow(
            field,
            N_('Row {row}: a turn in "{column}" needs role and content, or from and value; it has {found}.'),
            column=column, found=found or "{}",
        )  # fmt: skip


def question_placeholder(spec: DatasetSpec) -> tuple[Literal["instruction", "input"], str]:
    """(the placeholder of the prompt text for the user's question, the instruction if it is a constant)."""
    fixed = spec.instruction_column if spec.instruction_column.startswith("=") else ""
    if spec.input_column and (fixed or not spec.instruction_column):
        return "input", fill(fixed, {})
    return "instruction", ""
