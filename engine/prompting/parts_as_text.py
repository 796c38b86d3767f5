"""Writes as plain text what a chat template has no place for: system texts, thoughts, tool calls and their results.

Thoughts and tools are marked as Qwen and Hermes models mark them; a system text is put before the first question.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Feature = Literal["system", "thought", "tools"]
Turns = list[dict[str, Any]]

TOOLS = (
    "You can call these functions:\n<tools>\n{tools}\n</tools>\nTo call one, answer with a JSON object with its "
    "name and arguments within <tool_call></tool_call>."
)
_ASKED, _ANSWERED, _SYSTEM, _THOUGHT, _TOOL, _RESULT = (
    f"Loris{name}" for name in ("Question", "Answer", "System", "Thought", "Tool", "Result")
)


def unwritten_features(tokenizer: Any) -> tuple[Feature, ...]:
    """What the tokenizer's chat template rejects or leaves out."""
    asked, answered = {"role": "user", "content": _ASKED}, {"role": "assistant", "content": _ANSWERED}
    tool = {"type": "function", "function": {"name": _TOOL, "description": _TOOL, "parameters": {"type": "object"}}}
    call = {"id": "call00001", "type": "function", "function": {"name": _TOOL, "arguments": {}}}
    called = {"role": "assistant", "content": "", "tool_calls": [call]}
    result = {"role": "tool", "name": _TOOL, "tool_call_id": "call00001", "content": _RESULT}

    def writes(turns: Turns, *values: str, tools: list[Any] | None = None) -> bool:
        try:
            text = tokenizer.apply_chat_template(turns, tokenize=False, **({"tools": tools} if tools else {}))
        except Exception:  # templates raise anything
            return False
        return all(value in text for value in values)

    written: dict[Feature, bool] = {
        "system": writes([{"role": "system", "content": _SYSTEM}, asked, answered], _SYSTEM),
        "thought": writes([asked, {**answered, "reasoning_content": _THOUGHT}], _THOUGHT),
        "tools": writes([asked, answered], _TOOL, tools=[tool])
        and writes([asked, called, result, answered], _TOOL, _RESULT, tools=[tool]),
    }
    return tuple(feature for feature, there in written.items() if not there)


def write_as_text(
    turns: Sequence[Mapping[str, Any]], tools: list[Any] | None, features: Sequence[Feature]
) -> tuple[Turns, list[Any] | None]:
    """(turns, tools) with these features written into the contents of user and assistant."""
    found = [dict(turn) for turn in turns]
    if "thought" in features:
        found = [_with_thought(turn) for turn in found]
    if "tools" in features:
        found, tools = _with_tools(found, tools), None
    if "system" in features:
        found = _with_system_in_question(found)
    return found, tools


def _with_thought(turn: dict[str, Any]) -> dict[str, Any]:
    thought = turn.pop("reasoning_content", "")
    return {**turn, "content": f"<think>\n{thought}\n</think>\n\n{turn['content']}"} if thought else turn


def _with_tools(turns: Turns, tools: list[Any] | None) -> Turns:
    found: Turns = []
    for turn in turns:
        if turn["role"] == "tool":
            _add_to_question(found, f"<tool_response>\n{turn['content']}\n</tool_response>", "\n")
            continue
        calls = [_json(call.get("function", call)) for call in turn.pop("tool_calls", [])]
        called = [f"<tool_call>\n{call}\n</tool_call>" for call in calls]
        found.append({**turn, "content": "\n".join(filter(None, (turn["content"], *called)))})
    if tools:
        system = found.pop(0)["content"] if found[0]["role"] == "system" else ""
        listed = TOOLS.format(tools="\n".join(map(_json, tools)))
        found.insert(0, {"role": "system", "content": f"{system}\n\n{listed}".lstrip("\n")})
    return found


def _with_system_in_question(turns: Turns) -> Turns:
    """Put each system text before the question that follows it."""
    found: Turns = []
    system = ""
    for turn in turns:
        if turn["role"] == "system":
            system = f"{system}\n\n{turn['content']}".lstrip("\n")
            continue
        if system and turn["role"] == "user":
            turn = {**turn, "content": f"{system}\n\n{turn['content']}"}
        elif system:
            _add_to_question(found, system, "\n\n")
        found.append(turn)
        system = ""
    return found


def _add_to_question(turns: Turns, text: str, separator: str) -> None:
    """Add a text to the question at the end, or as a question: many templates reject two in a row."""
    if turns and turns[-1]["role"] == "user":
        turns[-1] = {**turns[-1], "content": f"{turns[-1]['content']}{separator}{text}"}
    else:
        turns.append({"role": "user", "content": text})


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
