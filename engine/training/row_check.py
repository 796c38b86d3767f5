"""Compares a row with the text made of it: whatever the row has and the text lacks would be dropped in silence.

Whitespace does not count, and a value may be written as a JSON string. Each part found is taken out of the text,
the longest first, so that a short one is not found inside another.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from engine.dataset.mapping import Mapping, Row, columns_in, fill, shorten
from engine.dataset.turn_shapes import CALL_KEYS, HISTORY_NAMES, THOUGHT_KEYS, TOOL_NAMES, as_turns, is_masked
from engine.dataset.turns import Turn, is_json_content, normalize_turns, parse_json, to_last_answer
from engine.messages.message import N_, Message, say

Part = Literal[
    "empty_answer", "tool_call", "tool_result", "turn", "system", "thought", "tools", "history", "column",
    "unanswered", "characters", "json_answer",
]  # fmt: skip
# The model would learn something wrong: an answer to nothing, or nothing as an answer.
STOPS: frozenset[Part] = frozenset(("empty_answer", "tool_call", "tool_result", "turn"))
COUNTED: dict[Part, str] = {
    "empty_answer": N_("Rows that would teach an empty answer: {count}, from row {row} on."),
    "tool_call": N_("Rows whose text leaves out a tool call: {count}, from row {row} on."),
    "tool_result": N_("Rows whose text leaves out a tool result: {count}, from row {row} on."),
    "turn": N_("Rows whose text leaves out a turn: {count}, from row {row} on."),
    "system": N_("Rows whose text leaves out a system text: {count}, from row {row} on."),
    "thought": N_("Rows whose text leaves out a thought: {count}, from row {row} on."),
    "tools": N_("Rows whose text leaves out a list of tools: {count}, from row {row} on."),
    "history": N_("Rows whose text leaves out earlier turns (history): {count}, from row {row} on."),
    "column": N_("Rows whose text leaves out a column: {count}, from row {row} on."),
    "unanswered": N_("Rows whose text leaves out the turns after the last answer: {count}, from row {row} on."),
    "characters": N_("Rows with characters that the tokenizer cannot write: {count}, from row {row} on."),
    "json_answer": N_("Rows whose answer is a list or an object, learned as JSON: {count}, from row {row} on."),
}
TIES = N_("Rows left out, because none of their answers is better: {count}.")
THOUGHT_NAMES = (*THOUGHT_KEYS, "cot", "chain_of_thought", "complex_cot", "think", "思考", "思维链")

_TAGS = "think|thinking|thought|reasoning"
_TAG = re.compile(rf"</?(?:{_TAGS})>|\[THINK\]")
_THOUGHT = re.compile(rf"<(?:{_TAGS})>(.*?)(?:</(?:{_TAGS})>|\Z)|\[THINK\](.*?)(?:\[/THINK\]|\Z)", re.DOTALL)
_UNOPENED = re.compile(
    rf"((?:(?!<(?:{_TAGS})>).)*?)</(?:{_TAGS})>", re.DOTALL
)  # by templates that open it themselves


class Finding(msgspec.Struct, frozen=True):
    """A part of a row that its text lacks. `value`: its start. `turn`: its number from 1, 0 for a column."""

    part: Part
    value: str
    turn: int = 0

    def describe(self, row: int) -> Message:
        if self.part == "empty_answer":
            return say("Row {row} would teach an empty answer in turn {turn}.", row=row, turn=self.turn)
        return say("The text of row {row} leaves out a part of the row: {value}", row=row, value=self.value)


class _Piece(NamedTuple):
    """A part of a row. `values`: what its text must have; `extra`: what may stand in it too."""

    part: Part
    values: tuple[str, ...]
    turn: int = 0
    extra: tuple[str, ...] = ()


def check_row(
    row: Row, mapping: Mapping, text: str, decoded: str | None = None, *, last_answer_only: bool = False
) -> list[Finding]:
    """What of a row its text lacks. `decoded`: the text as decoded from its tokens, which may lack more.

    `last_answer_only`: only the last answer is learned, so a template may leave out thoughts before it. It is so
    wherever answers are compared or voted on. The text of a pair has both its sides.
    """
    last_only = last_answer_only or mapping.kind in ("preference", "votes")
    found = [
        finding
        for side in mapping.sides(row)
        for finding in _check_side(*side, text, decoded, last_answer_only=last_only)
    ]
    return list(dict.fromkeys(found))


def _check_side(
    row: Row, mapping: Mapping, text: str, decoded: str | None, *, last_answer_only: bool
) -> list[Finding]:
    turns = _turns(row, mapping)
    unanswered = mapping.history or mapping.kind == "prompts"
    answered = len(turns) if unanswered else len(to_last_answer([turn for _, turn in turns]))
    last = answered + 1 if mapping.history else answered  # the number of the last answer
    pieces = [piece for n, turn in enumerate(turns[:answered], 1) for piece in _turn_pieces(*turn, n)]
    if not mapping.turns:
        pieces += _pair_pieces(row, mapping)
    if mapping.kind != "text":
        known = {(piece.part, value) for piece in pieces for value in piece.values}
        columns = _column_pieces(row, mapping)
        # First, so that a list of tools is not found in a call, nor a call in a list of tools.
        pieces = [*(one for one in columns if any((one.part, value) not in known for value in one.values)), *pieces]
    missing = _missing(pieces, text)
    found = [
        Finding(piece.part, shorten(_longest(piece)), piece.turn)
        for piece in missing
        if not (last_answer_only and piece.part == "thought" and 0 < piece.turn < last)
    ]
    found += _empty_answers(turns[:answered], pieces, missing, last if last_answer_only else 1)
    found += [Finding("unanswered", shorten(raw), n) for n, (raw, _) in enumerate(turns[answered:], answered + 1)]
    if decoded is not None and text not in decoded:
        lost = [piece for piece in _missing(pieces, decoded) if piece not in missing]
        found += [Finding("characters", shorten(_longest(piece)), piece.turn) for piece in lost]
    return [*found, *_json_answers(row, turns, mapping)]


def _turns(row: Row, mapping: Mapping) -> list[tuple[Any, Turn]]:
    """(the turn as it is in the row, with role and content) of each turn; of a pair, those of its history."""
    raw = mapping.raw_turns(row)
    if mapping.history:
        raw = as_turns(row.get(mapping.history), dict(mapping.roles)) or []
    return [(turn, normalize_turns([turn])[0]) for turn in raw]


def _turn_pieces(raw: Any, turn: Turn, number: int) -> Iterator[_Piece]:
    role, texts = turn["role"], [turn["content"]]
    if role == "assistant":
        thoughts, texts = split_thoughts(turn["content"])
        thoughts += [thought for key in THOUGHT_KEYS for thought in _leaves(raw.get(key))]
        thoughts += _leaves(turn.get("reasoning_content"))  # of a content part
        for thought in dict.fromkeys(map(str.strip, thoughts)):
            yield _Piece("thought", (thought,), number)
        for key in CALL_KEYS:
            for call in _calls(parse_json(raw.get(key))):
                yield _Piece("tool_call", tuple(_leaves(call)), number)
    part: Part = "system" if role == "system" else "tool_result" if role in ("tool", "ipython") else "turn"
    if values := tuple(text for text in texts if text.strip()):
        yield _Piece(part, values, number)


def _calls(value: Any) -> list[Any]:
    """The functions called, with name and arguments."""
    calls = value if isinstance(value, list) else [value] if value else []
    functions = [call.get("function") or call if isinstance(call, dict) else call for call in calls]
    return [
        {key: parse_json(part) for key, part in function.items() if key in ("name", "arguments", "parameters")}
        if isinstance(function, dict) and "name" in function
        else function
        for function in functions
    ]


def _leaves(value: Any) -> Iterator[str]:
    """The texts in a nested value, with the keys of what is below the name and the arguments of a call."""
    if isinstance(value, dict):
        for key, part in value.items():
            if part is None:
                continue
            if key not in ("name", "arguments", "parameters"):
                yield str(key)
            yield from _leaves(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _leaves(part)
    elif isinstance(value, str) and value.strip():
        yield value


def _pair_pieces(row: Row, mapping: Mapping) -> Iterator[_Piece]:
    for role in ("instruction", "input", "text"):
        if (value := fill(getattr(mapping, role), row)).strip():
            yield _Piece("column", (value,))
    thoughts, texts = split_thoughts(fill(mapping.output, row))
    for part, values in (("thought", thoughts), ("column", texts)):
        if values:
            yield _Piece(part, tuple(values))  # type: ignore[arg-type]


def _column_pieces(row: Row, mapping: Mapping) -> Iterator[_Piece]:
    """The parts in columns with a known meaning, whether they are mapped or not."""
    if (system := fill(mapping.system, row)).strip():
        yield _Piece("system", (system,))
    roles = (mapping.instruction, mapping.input, mapping.output, mapping.text)
    used = {*mapping.turns, mapping.history, *(name for filler in roles for name in columns_in(filler))}
    for name, value in row.items():
        leaves = () if name in used else tuple(_leaves(parse_json(value)))
        if not leaves:
            continue
        match str(name).strip().lower():
            case plain if name == mapping.tools or plain in TOOL_NAMES:
                yield _Piece("tools", _tool_names(parse_json(value)) or leaves, extra=leaves)
            case plain if plain in HISTORY_NAMES:
                yield _Piece("history", leaves)
            case plain if plain in THOUGHT_NAMES:
                yield _Piece("thought", leaves)


def _tool_names(tools: Any) -> tuple[str, ...]:
    functions = (
        [tool.get("function") or tool for tool in tools if isinstance(tool, dict)]
        if isinstance(tools, list)
        else []
    )
    return tuple(str(one["name"]) for one in functions if isinstance(one, dict) and one.get("name"))


def _missing(pieces: Sequence[_Piece], text: str) -> list[_Piece]:
    """The pieces of which a value is not in the text."""
    as_it_is = _unmatched(pieces, text, lambda value: (value.strip(),))
    return as_it_is and _unmatched(pieces, _squeeze(text), _forms)


def _unmatched(pieces: Sequence[_Piece], text: str, forms: Callable[[str], Iterable[str]]) -> list[_Piece]:
    """The pieces of which a value is in none of its forms in the text."""
    wanted = [
        (value, number, required)
        for number, piece in enumerate(pieces)
        for required, values in ((True, piece.values), (False, piece.extra))
        for value in values
    ]
    lost: set[int] = set()
    for value, number, required in sorted(wanted, key=lambda one: (-len(one[0]), not one[2])):
        form = next((form for form in forms(value) if form in text), None)
        if form is not None:
            text = text.replace(form, "\0", 1)
        elif required:
            lost.add(number)
    return [piece for number, piece in enumerate(pieces) if number in lost]


def _forms(value: str) -> Iterator[str]:
    """A text as it is, and as in a JSON string: once, or twice as in the arguments of a call. Squeezed."""
    yield _squeeze(value)
    for ascii_only in (False, True):
        once = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        yield _squeeze(once)
        yield _squeeze(json.dumps(once, ensure_ascii=ascii_only)[1:-1])


def _squeeze(text: str) -> str:
    """A text without whitespace, in the form in which tokenizers compare characters."""
    return "".join(unicodedata.normalize("NFKC", text).replace("\u2581", " ").split())


def _longest(piece: _Piece) -> str:
    return max(piece.values, key=len)


def _empty_answers(
    turns: Sequence[tuple[Any, Turn]], pieces: Sequence[_Piece], missing: Sequence[_Piece], first: int
) -> Iterator[Finding]:
    """The answers of which nothing is written, from turn `first` on."""
    written = {piece.turn for piece in pieces if piece not in missing}
    for number, (raw, turn) in enumerate(turns, 1):
        if number >= first and number not in written and turn["role"] == "assistant" and not is_masked(raw):
            yield Finding("empty_answer", shorten(raw), number)


def _json_answers(row: Row, turns: Sequence[tuple[Any, Turn]], mapping: Mapping) -> Iterator[Finding]:
    if mapping.kind == "alpaca":
        for name in columns_in(mapping.output):
            if isinstance(row.get(name), (list, dict)):
                yield Finding("json_answer", shorten(row[name]))
    for number, (raw, turn) in enumerate(turns, 1):
        if turn["role"] == "assistant" and is_json_content(raw):
            yield Finding("json_answer", shorten(turn["content"]), number)


def split_thoughts(content: str) -> tuple[list[str], list[str]]:
    """(the thoughts in an answer, the texts around them)."""
    if not _TAG.search(content):
        return [], [content] if content.strip() else []
    thoughts, texts, end = [], [], 0
    unopened = _UNOPENED.match(content)
    for match in [unopened] if unopened else _THOUGHT.finditer(content):
        thoughts.append(next(filter(None, match.groups()), ""))
        texts.append(content[end : match.start()])
        end = match.end()
    texts.append(content[end:])
    return [t for t in thoughts if t.strip()], [t for t in texts if t.strip()]
