"""From a row to the example that is learned: which column, template or constant fills which role."""

from __future__ import annotations

import re
from collections.abc import Mapping as AnyMapping
from typing import Any, Literal

import msgspec

from engine.config.run_spec import DatasetSpec
from engine.dataset.turns import KNOWN_ROLES, Turn, as_string, as_turns, is_turn, through_answer, unpacked
from engine.messages.message import N_, Message, say

Row = AnyMapping[str, Any]
Kind = Literal["alpaca", "messages", "text", "preference", "unknown"]

SHOWN = 60  # characters of a bad value
_COLUMN = re.compile(r"\{([^{}]+)\}")


class Example(msgspec.Struct, frozen=True):
    """What is learned of one row: a pair under the names of the prompt text, or turns, or a plain text.

    `rejected`: the answer that is not to be given, beside the one of the pair, in preference data.

    `tools`: the descriptions of tools that some chats come with, as chat templates take them.
    """

    pair: dict[str, str] = {}
    turns: list[Turn] = []
    text: str = ""
    tools: list[Any] | None = None
    rejected: str = ""

    def as_chat(self) -> list[Turn]:
        """The turns, or the pair as a chat of two: a context follows the instruction after a blank line."""
        if self.turns:
            return self.turns
        asked = "\n\n".join(part for name in ("instruction", "input") if (part := self.pair.get(name, "")).strip())
        system = self.pair.get("system", "")
        first = [{"role": "system", "content": system}] if system else []
        answer = {"role": "assistant", "content": self.pair["output"]}
        return [*first, {"role": "user", "content": asked}, answer]


class BadRow(Exception):
    """A row of which nothing can be learned. `empty`: it just has no answer. `field`: the setting to blame."""

    def __init__(self, field: str, template: str, *, empty: bool = False, **values: Any) -> None:
        self.field, self.empty = field, empty
        self._template, self.values = template, values
        super().__init__(template)

    def at(self, row: int) -> Message:
        """What is wrong, with the number of the row, from 1."""
        return say(self._template, row=row, **self.values)


def shown(value: Any) -> str:
    """A value, short enough for a message."""
    text = as_string(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def is_template(filler: str) -> bool:
    """Whether a role is filled by a text, with columns in it or not, rather than by one column."""
    return filler.startswith("=") or bool(_COLUMN.search(filler))


def columns_in(filler: str) -> list[str]:
    """The columns that a role needs."""
    if is_template(filler):
        return _COLUMN.findall(filler)
    return [filler] if filler else []


def fill(filler: str, row: Row) -> str:
    """The text of a role: of its column, of its template of columns, or its constant after "="."""
    if not is_template(filler):
        return as_string(row.get(filler)) if filler else ""
    template = filler.removeprefix("=").replace("\\n", "\n").replace("\\t", "\t")
    if filler.startswith("="):
        template = template.removeprefix(" ")

    def cell(match: re.Match[str]) -> str:
        # A brace that names no column of the row is plain text in a constant.
        return as_string(row[match[1]]) if match[1] in row else "" if not filler.startswith("=") else match[0]

    return _COLUMN.sub(cell, template)


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """Which column fills which role; a role may be filled by a template or a constant too (see `fill`).

    `turns`: the columns whose turns, one after the other, are the conversation. `tools`: that of the tools.
    """

    kind: Kind
    instruction: str = ""
    input: str = ""
    output: str = ""
    rejected: str = ""
    system: str = ""
    text: str = ""
    turns: tuple[str, ...] = ()
    tools: str = ""

    def example(self, row: Row) -> Example:
        """What is learned of a row. Raises `BadRow`."""
        match self.kind:
            case "messages":
                return self._chat(row)
            case "text":
                return self._text(row)
            case "alpaca":
                return self._pair(row)
            case "preference" if self.instruction:
                require(row, self.rejected, "dataset.format")
                return msgspec.structs.replace(self._pair(row), rejected=fill(self.rejected, row))
        raise ValueError(f"no example can be made of {self.kind}")

    def _pair(self, row: Row) -> Example:
        require(row, self.instruction, "dataset.instruction_column")
        require(row, self.output, "dataset.output_column")
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
        require(row, self.text, "dataset.text_column")
        text = fill(self.text, row)
        if not text.strip():
            raise BadRow(
                "dataset.text_column", N_("Row {row} has no text: {column} is empty."),
                empty=True, column=self.text,
            )  # fmt: skip
        for name in columns_in(self.text):
            if isinstance(row.get(name), (list, dict)):
                raise BadRow(
                    "dataset.text_column", N_("Row {row}: {column} is no text: {value}"),
                    column=name, value=shown(row[name]),
                )  # fmt: skip
        return Example(text=text)

    def _chat(self, row: Row) -> Example:
        turns: list[Any] = []
        for name in self.turns:
            require(row, name, "dataset.messages_column")
            found = unpacked(row.get(name))
            check_turns(name, found)
            turns += found or []
        made = through_answer(as_turns(turns))
        if stranger := next((turn["role"] for turn in made if turn["role"] not in KNOWN_ROLES), None):
            raise BadRow(
                "dataset.messages_column",
                N_('Row {row}: "{column}" has a turn of "{role}". Templates know these roles: {roles}.'),
                column=" + ".join(self.turns), role=shown(stranger), roles="system, user, assistant, tool",
            )  # fmt: skip
        if not made:
            raise BadRow(
                "dataset.messages_column", N_("Row {row} has no answer: {column} has no turn of the assistant."),
                empty=True, column=" + ".join(self.turns),
            )  # fmt: skip
        system = fill(self.system, row)
        if system and made[0]["role"] != "system":
            made.insert(0, {"role": "system", "content": system})
        tools = unpacked(row.get(self.tools)) if self.tools else None
        return Example(turns=made, tools=tools if isinstance(tools, list) and tools else None)


def require(row: Row, filler: str, field: str) -> None:
    """Raises `BadRow` for a row that lacks a column which others have: it is of another kind than they are."""
    if filler.startswith("="):
        return
    for name in columns_in(filler):
        if name not in row:
            raise BadRow(
                field, N_('Row {row} has no column "{column}", as other rows have. It has: {columns}.'),
                column=name, columns=shown(", ".join(map(str, row))),
            )  # fmt: skip


def check_turns(column: str, value: Any) -> None:
    """Raises `BadRow` for what is no conversation. An empty one passes: it just has no answer."""
    field = "dataset.messages_column"
    if not value:
        return
    if not isinstance(value, list):
        raise BadRow(
            field, N_('Row {row}: "{column}" must be a list of turns, each with role and content; it has {value}.'),
            column=column, value=shown(value),
        )  # fmt: skip
    bad = next((turn for turn in value if not is_turn(turn)), None)
    if bad is not None or None in value:
        found = ", ".join(map(str, bad)) if isinstance(bad, dict) else type(bad).__name__
        raise BadRow(
            field,
            N_('Row {row}: a turn in "{column}" needs role and content, or from and value; it has {found}.'),
            column=column, found=found or "{}",
        )  # fmt: skip


def question_of(spec: DatasetSpec) -> tuple[Literal["instruction", "input"], str]:
    """(the prompt text's placeholder that takes what a user asks, the instruction that every row has)."""
    fixed = spec.instruction_column if spec.instruction_column.startswith("=") else ""
    if spec.input_column and (fixed or not spec.instruction_column):
        return "input", fill(fixed, {})
    return "instruction", ""
