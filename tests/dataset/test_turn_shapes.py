"""Turns of other tools, APIs and languages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.config.run_spec import DatasetSpec
from engine.dataset.detected import GUESS
from engine.dataset.detection import detect
from engine.dataset.mapping import BadRow
from engine.dataset.turn_shapes import as_tools, as_turns
from engine.dataset.turns import Turn

USER, BOT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}
CALL = {"name": "f", "arguments": {"x": 1}}
CALLED = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": CALL}]}
HI: list[Turn] = [USER, BOT]

SHAPES: dict[str, tuple[Any, list[Turn]]] = {
    "Chinese role names": ([{"role": "用户", "content": "Hi"}, {"role": "助手", "content": "Yo"}], HI),
    "role names with a colon": ([{"from": "Human:", "value": "Hi"}, {"from": "Bot:", "value": "Yo"}], HI),
    "human/bot": ([{"from": "human", "value": "Hi"}, {"from": "bot", "value": "Yo"}], HI),
    "speakers": ([{"speaker": "user", "text": "Hi"}, {"speaker": "ai", "text": "Yo"}], HI),
    "an object of both": ([{"human": "Hi", "assistant": "Yo"}], HI),
    "Gemini": (
        [{"role": "user", "parts": [{"text": "H"}, {"text": "i"}]}, {"role": "model", "parts": [{"text": "Yo"}]}],
        HI,
    ),
    "Gemini's calls": (
        [{"role": "user", "parts": [{"text": "Hi"}]},
         {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"x": 1}}}]}],
        [USER, CALLED],
    ),
    "texts in turn": (["Hi", "Yo"], HI),
    "pairs of texts": ([["Hi", "Yo"], ["Hi", "Yo"]], [*HI, *HI]),
    "JSON": (json.dumps(HI), HI),
    "an old function call": ([USER, {"role": "assistant", "content": None, "function_call": CALL}], [USER, CALLED]),
    "an old call with JSON in it": (
        [USER, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"x": 1}'}}],
        [USER, CALLED],
    ),
    "a turn that is a call": (
        [{"from": "human", "value": "Hi"}, {"from": "function_call", "value": json.dumps(CALL)}], [USER, CALLED]
    ),
    "a thought": ([USER, BOT | {"thinking": "Hm."}], [USER, BOT | {"reasoning_content": "Hm."}]),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_turns_of_other_shapes_are_used(name: str) -> None:
    written, turns = SHAPES[name]
    found = detect([{"conversation": written}], DatasetSpec())
    assert found.kind == "messages"
    assert found.problem is None
    assert found.mapping.example({"conversation": written}).turns == turns
    assert (found.confidence <= GUESS) == ("texts" in name)  # only there is it a guess who says what


@pytest.mark.parametrize(
    "value", [None, "Hi", 5, [], [5], ["one"], [USER, 5], [{"a": 1}], [["a", "b", "c"]], {"a": []}]
)
def test_values_of_no_shape_stay(value: Any) -> None:
    assert as_turns(value) == value


def test_lists_of_texts_are_no_chat_unless_their_name_says_so() -> None:
    found = detect([{"text": "Once.", "tags": ["a", "b"]}], DatasetSpec())
    assert (found.kind, found.mapping.text) == ("text", "text")


@pytest.mark.parametrize("name", ["tools", "functions", "tool_defs"])
@pytest.mark.parametrize("as_json", [False, True])
def test_tool_descriptions_are_used(name: str, as_json: bool) -> None:
    tool = {"name": "f", "parameters": {}}
    row = {"messages": HI, name: json.dumps([tool]) if as_json else [tool]}
    [found] = detect([row], DatasetSpec()).mapping.example(row).tools or []
    assert found == {"type": "function", "function": tool}
    assert as_tools([found]) == [found]
    assert as_tools("none") is None


def test_history_becomes_turns() -> None:
    row = {"instruction": "And now?", "input": "x", "output": "Yo", "system": "S", "history": [["Hi", "Yo"]]}
    found = detect([row, row | {"history": []}], DatasetSpec())
    assert (found.kind, found.problem) == ("messages", None)
    asked = [{"role": "system", "content": "S"}, *HI, {"role": "user", "content": "And now?\n\nx"}, BOT]
    assert found.mapping.example(row).turns == asked
    assert found.mapping.example(row | {"history": None}).turns == [asked[0], *asked[3:]]
    # A prompt template has no place for it.
    assert detect([row], DatasetSpec(written_with="prompt_template")).kind == "alpaca"


@pytest.mark.parametrize("mask", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"loss": False}])
def test_a_turn_with_weight_0_is_masked(mask: dict[str, Any]) -> None:
    row = {"messages": [USER, BOT | mask, USER, BOT | {"weight": 1}]}
    mapping = detect([row], DatasetSpec()).mapping
    assert mapping.example(row).masked == (0,)
    with pytest.raises(BadRow) as caught:
        mapping.example({"messages": [USER, BOT | mask]})
    assert caught.value.empty


def test_names_of_characters_can_be_mapped() -> None:
    row = {"conversations": [{"from": "Bob", "value": "Hi"}, {"from": "Alice", "value": "Yo"}]}
    with pytest.raises(BadRow) as caught:
        detect([row], DatasetSpec()).mapping.example(row)
    assert not caught.value.empty  # it is not that the row has no answer
    assert caught.value.values["unknown"] == "bob\nalice"
    for names in (("Alice=assistant", "Bob=user"), ("bob = user", "*=assistant")):
        mapping = detect([row], DatasetSpec(role_names=names)).mapping
        assert mapping.example(row).turns == HI


def test_turns_after_the_last_answer_are_counted() -> None:
    row = {"messages": [*HI, USER]}
    assert detect([row], DatasetSpec()).mapping.example(row).dropped_turns == 1


def test_the_system_text_of_gemini_is_used() -> None:
    row = {"systemInstruction": {"parts": [{"text": "S"}]}, "contents": SHAPES["Gemini"][0]}
    assert detect([row], DatasetSpec()).mapping.example(row).turns == [{"role": "system", "content": "S"}, *HI]
