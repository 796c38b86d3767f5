"""Reads the turns of other tools and APIs: each shape becomes turns with role and content, as in OpenAI's API."""

from collections.abc import Mapping, Sequence
from typing import Any

from engine.dataset.turns import KNOWN_ROLES, ROLE_ALIASES, as_string, is_conversation, parse_json

ROLE_KEYS = ("role", "from", "speaker")
CONTENT_KEYS = ("content", "value", "parts", "text", "utterance")
THOUGHT_KEYS = ("reasoning_content", "thinking", "reasoning", "thoughts", "thought", "reasoning_text")
CALL_KEYS = ("tool_calls", "function_call", "tool_call", "function_calls")
MASK_KEYS = ("weight", "train", "loss", "trainable")  # 0 or false on a turn: it is not learned
# The keys of a turn that are used. Others are reported.
USED_KEYS = frozenset((*ROLE_KEYS, *CONTENT_KEYS, *THOUGHT_KEYS, *CALL_KEYS, *MASK_KEYS, "tool_call_id", "name"))
HISTORY_NAMES = ("history", "chat_history", "conversation_history", "历史", "历史对话")
TOOL_NAMES = ("tools", "functions", "tool_defs", "tool_definitions", "available_tools")

Roles = Mapping[str, str]


def as_turns(value: Any, roles: Roles | None = None) -> Any:
    """The turns in a value, with role and content; a value of another shape unchanged.

    `roles`: the role of each name, in lower case, for names that Loris does not know; "*" for all others.
    """
    value = parse_json(value)
    if not isinstance(value, list) or not value:
        return value
    if all(isinstance(turn, Mapping) for turn in value):
        found = [one for turn in value for one in (_of_pair(turn) or [_of_object(turn, roles or {})])]
        return found if is_conversation(found) else value
    return _of_texts(value)


def has_texts_as_turns(value: Any) -> bool:
    """Whether the turns are texts without roles: that question and answer alternate is a guess."""
    value = parse_json(value)
    return isinstance(value, list) and bool(value) and _of_texts(value) is not value


def is_masked(turn: Mapping[str, Any]) -> bool:
    """Whether a turn shall not be learned."""
    return any(turn.get(key) in (0, False, "0", "false", "False") for key in MASK_KEYS if turn.get(key) is not None)


def as_tools(value: Any) -> list[Any] | None:
    """The tool descriptions of a row as chat templates expect them, None if there are none."""
    found = parse_json(value)
    tools = [parse_json(tool) for tool in found] if isinstance(found, list) else [found] if found else []
    tools = [tool for tool in tools if isinstance(tool, Mapping)]
    return [_as_function(tool) if "function" not in tool else tool for tool in tools] or None


def _as_function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "function", "function": tool} if "name" in tool else tool


def _of_pair(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The turns of an object such as {"human": ..., "assistant": ...}; empty if it is none."""
    named = {_role(str(key), {}): text for key, text in turn.items()}
    if len(named) < len(turn) or not {"user", "assistant"} <= named.keys() <= {"system", "user", "assistant"}:
        return []
    order = ("system", "user", "assistant")
    return [{"role": role, "content": named[role]} for role in order if role in named]


def _of_object(turn: Mapping[str, Any], roles: Roles) -> dict[str, Any]:
    """A turn with role and content, from any keys for these; as it is if it has none."""
    role_key = next((key for key in ROLE_KEYS if turn.get(key) is not None), None)
    content_key = next((key for key in CONTENT_KEYS if turn.get(key) is not None), None)
    written = next((turn[key] for key in CALL_KEYS if turn.get(key)), None)
    calls = _calls(written) or written  # the template decides about calls of another shape
    if role_key is None or (content_key is None and not calls and not any(key in turn for key in CONTENT_KEYS)):
        return dict(turn)
    name = as_string(turn[role_key]).strip()
    made = {key: part for key, part in turn.items() if key not in (*ROLE_KEYS, *CONTENT_KEYS, *CALL_KEYS)}
    made |= {"role": _role(name, roles), "content": turn[content_key] if content_key else None}
    if content_key == "parts":
        made["content"], calls = _of_parts(turn["parts"])
    if name.lower() == "function_call" and (called := _calls(made["content"])):
        made["content"], calls = None, called
    if thought := next((turn[key] for key in THOUGHT_KEYS if turn.get(key)), None):
        made["reasoning_content"] = as_string(thought)
    return made | ({"tool_calls": calls} if calls else {})


def _role(name: str, roles: Roles) -> str:
    """The role of a name. A name that is not known stays, unless `roles` has it."""
    plain = name.strip().rstrip(":：").lower()
    known = roles.get(plain) or ROLE_ALIASES.get(plain, plain)
    return known if known in KNOWN_ROLES else roles.get("*", known)


def _calls(value: Any) -> list[Any]:
    """Tool calls as OpenAI writes them, from one call or several, or their JSON."""
    found = parse_json(value)
    calls = found if isinstance(found, list) else [found]
    calls = [parse_json(call) for call in calls]
    if not all(isinstance(call, Mapping) and ("name" in call or "function" in call) for call in calls):
        return []
    return [call if "function" in call else {"type": "function", "function": dict(call)} for call in calls]


def _of_parts(parts: Any) -> tuple[Any, list[Any]]:
    """(the content, the tool calls) of Gemini's parts."""
    content: list[Any] = []
    calls: list[Any] = []
    for part in parts if isinstance(parts, list) else [parts]:
        if not isinstance(part, Mapping):
            content.append({"type": "text", "text": as_string(part)})
        elif isinstance(call := part.get("functionCall"), Mapping):
            called = {"name": call.get("name", ""), "arguments": call.get("args") or {}}
            calls.append({"type": "function", "function": called})
        elif "text" in part or "functionResponse" in part:
            content.append({"type": "text", "text": as_string(part.get("text", part.get("functionResponse")))})
        else:  # a file
            content.append({"type": next(iter(part), ""), **part})
    if all(part["type"] == "text" for part in content):
        return "".join(part["text"] for part in content), calls
    return content, calls


def _of_texts(value: Sequence[Any]) -> Any:
    """Turns from texts that alternate between user and assistant, or from lists of two of them."""
    if all(isinstance(part, str) for part in value) and len(value) > 1:
        return [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(value)]
    if all(isinstance(pair, list) and len(pair) == 2 and all(isinstance(t, str) for t in pair) for pair in value):
        return [turn for pair in value for turn in _of_texts(pair)]
    return value
