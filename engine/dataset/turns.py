"""The turns of a conversation, under the names that chat templates want."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

Turn = dict[str, Any]
ROLES = {
    "human": "user", "input": "user", "gpt": "assistant", "output": "assistant", "model": "assistant",
    "bot": "assistant", "chatgpt": "assistant", "ai": "assistant", "function_call": "assistant",
    "observation": "tool", "function": "tool", "function_response": "tool", "developer": "system",
}  # fmt: skip
# The last ones are of single models' own templates.
KNOWN_ROLES = ("system", "user", "assistant", "tool", "ipython", "documents", "context")
# What a turn may carry beside its text. Other keys are the dataset's own notes, which no template reads.
EXTRAS = ("tool_calls", "tool_call_id", "name", "reasoning_content")


def as_string(value: Any) -> str:
    """A cell as text: nothing for null, JSON for what is no text."""
    if value is None:
        return ""
    if isinstance(value, datetime):  # a text that its loader took for a date
        return str(value).removesuffix(" 00:00:00")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def is_turn(turn: Any) -> bool:
    """Whether a value is one turn of a conversation, in either of the two usual spellings."""
    if not isinstance(turn, Mapping):
        return False
    return ("role" in turn and ("content" in turn or "tool_calls" in turn)) or {"from", "value"} <= turn.keys()


def is_turns(value: Any) -> bool:
    """Whether a value is a conversation: a list of turns with role and content, or with from and value."""
    return isinstance(value, list) and bool(value) and all(is_turn(turn) for turn in value)


def unpacked(value: Any) -> Any:
    """The list or object in a JSON text, as tables keep conversations; any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value
    return value


def as_turns(turns: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Turns with role and content, and what else templates read; ShareGPT calls the two from and value."""
    found = []
    for turn in turns:
        role = as_string(turn.get("role") or turn.get("from")).strip().lower()
        content = turn["content"] if turn.get("content") is not None else turn.get("value")
        made: Turn = {"role": ROLES.get(role, role), "content": as_string(_text_of(content))}
        for key in EXTRAS:
            if turn.get(key):
                made[key] = turn[key]
        if calls := made.get("tool_calls"):
            made["tool_calls"] = [_call(call) for call in unpacked(calls)]
        found.append(made)
    return found


def _call(call: Any) -> Any:
    """A tool call without empty entries, and its arguments as an object: OpenAI sends them as a JSON text."""
    if not isinstance(call, Mapping):
        return call
    made = {key: value for key, value in call.items() if value is not None}
    if isinstance(made.get("function"), Mapping):
        made["function"] = _call(made["function"])
    if isinstance(made.get("arguments"), str):
        made["arguments"] = unpacked(made["arguments"])
    return made


def _text_of(content: Any) -> Any:
    """The text of a content in parts, as OpenAI's format has them; any other content as it is."""
    if isinstance(content, list) and content and all(isinstance(p, Mapping) and p.get("text") for p in content):
        return "".join(as_string(part["text"]) for part in content)
    return content


def through_answer(turns: list[Turn]) -> list[Turn]:
    """A conversation up to its last answer: a question after it, or without one, teaches nothing."""
    answers = [
        number
        for number, turn in enumerate(turns, 1)
        if turn["role"] == "assistant" and (turn["content"].strip() or turn.get("tool_calls"))
    ]
    return turns[: answers[-1]] if answers else []
