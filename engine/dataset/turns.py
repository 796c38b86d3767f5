"""Normalizes the turns of a conversation to the names that chat templates expect."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

Turn = dict[str, Any]
ROLE_ALIASES = {
    "human": "user", "input": "user", "gpt": "assistant", "output": "assistant", "model": "assistant",
    "bot": "assistant", "chatgpt": "assistant", "ai": "assistant", "function_call": "assistant",
    "observation": "tool", "function": "tool", "function_response": "tool", "developer": "system",
    # Of other tools and languages.
    "prompter": "user", "instruction": "user", "question": "user", "q": "user", "usuario": "user",
    "usuário": "user",
    "utilisateur": "user", "nutzer": "user", "benutzer": "user", "пользователь": "user",
    "用户": "user", "使用者": "user", "人类": "user", "人": "user", "问": "user", "提问": "user", "客户": "user",
    "ユーザー": "user", "사용자": "user",
    "response": "assistant", "answer": "assistant", "a": "assistant", "chatbot": "assistant", "llm": "assistant",
    "asistente": "assistant", "assistente": "assistant", "assistent": "assistant", "ассистент": "assistant",
    "助手": "assistant", "助理": "assistant", "机器人": "assistant", "模型": "assistant", "答": "assistant",
    "回答": "assistant", "客服": "assistant", "アシスタント": "assistant", "어시스턴트": "assistant",
    "sistema": "system", "система": "system", "système": "system", "系统": "system", "系統": "system",
    "系统提示": "system", "システム": "system", "시스템": "system",
    "tool_response": "tool", "tool_result": "tool", "工具": "tool", "函数": "tool",
}  # fmt: skip
# The last three are used by the templates of single models.
KNOWN_ROLES = ("system", "user", "assistant", "tool", "ipython", "documents", "context")
# Keys that templates read besides role and content. Other keys of a turn are dropped.
EXTRA_KEYS = ("tool_calls", "tool_call_id", "name", "reasoning_content")
# Content parts of text, by the names that APIs give them. All other parts are files.
_PART_TYPES = {"input_text": "text", "output_text": "text", "refusal": "text", "reasoning": "thinking"}


def as_string(value: Any) -> str:
    """A cell as text: "" for null, JSON for a value that is not text."""
    if value is None:
        return ""
    if isinstance(value, datetime):  # text that the loader parsed as a date
        return str(value).removesuffix(" 00:00:00")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def content_of(turn: Mapping[str, Any]) -> Any:
    """What a turn says: text, content parts, or another value."""
    return turn["content"] if turn.get("content") is not None else turn.get("value")


def is_turn(turn: Any) -> bool:
    """Whether a value is a turn with role and content (OpenAI), or with from and value (ShareGPT)."""
    if not isinstance(turn, Mapping):
        return False
    return ("role" in turn and ("content" in turn or "tool_calls" in turn)) or {"from", "value"} <= turn.keys()


def is_conversation(value: Any) -> bool:
    """Whether a value is a non-empty list of turns."""
    return isinstance(value, list) and bool(value) and all(is_turn(turn) for turn in value)


def parse_json(value: Any) -> Any:
    """The list or object in a JSON string, as tables store conversations; any other value unchanged."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value
    return value


def normalize_turns(turns: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Turns with role, content and `EXTRA_KEYS`, from OpenAI or ShareGPT turns."""
    found = []
    for turn in turns:
        role = as_string(turn.get("role") or turn.get("from")).strip().lower()
        content = content_of(turn)
        made: Turn = {"role": ROLE_ALIASES.get(role, role), "content": as_string(_join_parts(content))}
        if thought := _join_parts(content, "thinking"):
            made["reasoning_content"] = thought
        for key in EXTRA_KEYS:
            if turn.get(key):
                made[key] = turn[key]
        if calls := made.get("tool_calls"):
            made["tool_calls"] = [_normalize_tool_call(call) for call in parse_json(calls)]
        found.append(made)
    return found


def _normalize_tool_call(call: Any) -> Any:
    """A tool call without null entries, its arguments as an object: OpenAI sends them as a JSON string."""
    if not isinstance(call, Mapping):
        return call
    made = {key: value for key, value in call.items() if value is not None}
    if isinstance(made.get("function"), Mapping):
        made["function"] = _normalize_tool_call(made["function"])
    if isinstance(made.get("arguments"), str):
        made["arguments"] = parse_json(made["arguments"])
    return made


def _is_parts(content: Any) -> bool:
    """Whether a content is a list of parts, as OpenAI and multimodal models write it; an empty list is one."""
    return isinstance(content, list) and all(
        isinstance(part, str) or (isinstance(part, Mapping) and ("type" in part or "text" in part))
        for part in content
    )


def _part_type(part: str | Mapping[str, Any]) -> str:
    """The type of a content part: "text", "thinking", or that of a file."""
    kind = "text" if isinstance(part, str) else str(part.get("type") or "text")
    return _PART_TYPES.get(kind, kind)


def _join_parts(content: Any, kind: str = "text") -> Any:
    """The joined texts of the content parts of a type; of "text", any other content unchanged."""
    if not _is_parts(content):
        return content if kind == "text" else ""
    texts = [
        part if isinstance(part, str) else part.get(kind) or part.get("text")
        for part in content
        if _part_type(part) == kind
    ]
    return "".join(map(as_string, texts))


def foreign_part(turn: Mapping[str, Any]) -> str:
    """The type of the first part of a turn that is no text, such as image_url; "" if there is none."""
    content = content_of(turn)
    kinds = map(_part_type, content) if _is_parts(content) else ()
    return next((kind for kind in kinds if kind not in ("text", "thinking")), "")


def is_json_content(turn: Mapping[str, Any]) -> bool:
    """Whether the content of a turn is a list or an object, so that its text is JSON."""
    return isinstance(_join_parts(content_of(turn)), (list, Mapping))


def to_last_answer(turns: list[Turn]) -> list[Turn]:
    """A conversation up to its last answer; empty if there is none."""
    answers = [
        number
        for number, turn in enumerate(turns, 1)
        if turn["role"] == "assistant" and (turn["content"].strip() or turn.get("tool_calls"))
    ]
    return turns[: answers[-1]] if answers else []
