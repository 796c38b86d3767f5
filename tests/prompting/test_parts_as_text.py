"""What a chat template has no place for, written as plain text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.prompting.parts_as_text import unwritten_features, write_as_text

SYSTEM, ASKED, ANSWER = (
    {"role": r, "content": c} for r, c in (("system", "Be brief."), ("user", "Hi"), ("assistant", "Yo"))
)
CALL = {"id": "c", "function": {"name": "f", "arguments": {"x": "1"}}}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "5"}
TOOLS = [{"type": "function", "function": {"name": "f"}}]
ALL = ("system", "thought", "tools")


class Tokenizer:
    """Renders role and content, and with `full` everything else as JSON; refuses a system turn without it."""

    def __init__(self, full: bool) -> None:
        self._full = full

    def apply_chat_template(self, turns: list[dict[str, Any]], tokenize: bool, tools: Any = None) -> str:
        if self._full:
            return json.dumps([turns, tools])
        if turns[0]["role"] == "system":
            raise ValueError("System role not supported")
        return "".join(f"<{turn['role']}>{turn['content']}" for turn in turns if turn["role"] != "tool")


def test_what_a_template_does_not_write() -> None:
    assert unwritten_features(Tokenizer(full=True)) == ()
    assert unwritten_features(Tokenizer(full=False)) == ALL


def test_system_text_is_folded_into_the_first_user_turn() -> None:
    assert write_as_text([SYSTEM, ASKED, ANSWER], None, ("system",)) == (
        [{"role": "user", "content": "Be brief.\n\nHi"}, ANSWER], None,
    )  # fmt: skip
    late = [ASKED, ANSWER, SYSTEM, ASKED, ANSWER]
    assert write_as_text(late, None, ("system",))[0][2]["content"] == "Be brief.\n\nHi"
    alone = [ASKED, SYSTEM, ANSWER]
    assert write_as_text(alone, None, ("system",))[0] == [{"role": "user", "content": "Hi\n\nBe brief."}, ANSWER]


def test_tools_calls_and_results_become_turns_of_user_and_assistant() -> None:
    turns, tools = write_as_text([ASKED, CALLED, RESULT, RESULT, ANSWER], TOOLS, ALL)
    assert tools is None
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant"]
    assert json.dumps(TOOLS[0]) in turns[0]["content"]
    assert turns[0]["content"].endswith("\n\nHi")
    assert turns[1]["content"] == '<tool_call>\n{"name": "f", "arguments": {"x": "1"}}\n</tool_call>'
    assert turns[2]["content"].count("<tool_response>\n5\n</tool_response>") == 2
    assert not any("tool_calls" in turn for turn in turns)


def test_a_thought_opens_its_answer() -> None:
    turns, _ = write_as_text([ASKED, ANSWER | {"reasoning_content": "Hm."}], None, ("thought",))
    assert turns[1] == {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYo"}


@pytest.mark.parametrize("features", [(), ("system",), ALL])
def test_a_plain_chat_stays_as_it_is(features: Any) -> None:
    assert write_as_text([ASKED, ANSWER], None, features) == ([ASKED, ANSWER], None)
