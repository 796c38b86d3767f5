"""Whatever a row has and its text lacks is found: in chats, pairs and texts, with the right part and turn."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.config.run_spec import DatasetSpec
from engine.dataset.detection import detect
from engine.dataset.mapping import Mapping
from engine.training.row_check import Finding, check_row, split_thoughts

CHAT = Mapping(kind="messages", turns=("messages",), system="system", tools="tools")
PAIR = Mapping(kind="alpaca", instruction="instruction", input="input", output="output", system="system")
USER = {"role": "user", "content": "How warm is it in Oslo?"}
ANSWER = {"role": "assistant", "content": "It is 21 degrees."}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": '{"degrees": 21}', "tool_call_id": "c1"}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {}}}}}]


def plain(*turns: dict[str, Any], end: str = "</s>") -> str:
    """A template that knows role and content alone."""
    return "".join(f"<|{turn['role']}|>\n{turn['content'] or ''}{end}\n" for turn in turns)


def parts(row: dict[str, Any], text: str, mapping: Mapping = CHAT, **settings: Any) -> list[tuple[str, int]]:
    return [(found.part, found.turn) for found in check_row(row, mapping, text, **settings)]


def test_a_complete_chat_lacks_nothing() -> None:
    row = {"messages": [{"role": "system", "content": " Be brief.\n"}, USER, ANSWER]}
    assert parts(row, plain({"role": "system", "content": "Be brief."}, USER, ANSWER)) == []


def test_tool_turns_on_a_template_without_tools() -> None:
    row = {"messages": [USER, CALLED, RESULT, ANSWER], "tools": TOOLS}
    text = plain(USER, CALLED, ANSWER)
    lacks = [("tools", 0), ("tool_call", 2), ("tool_result", 3), ("empty_answer", 2)]
    assert parts(row, text) == lacks


def test_content_null_with_tool_calls_is_an_empty_answer() -> None:
    """{"role": "assistant", "content": null, "tool_calls": [...]} learned as an empty answer."""
    row = {"messages": [USER, CALLED]}
    assert ("empty_answer", 2) in parts(row, plain(USER, CALLED))
    assert (
        parts(
            row, plain(USER, {"role": "assistant", "content": '{"name": "weather", "parameters": {"city":"Oslo"}}'})
        )
        == []
    )


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning", "thought"])
def test_a_thought_in_a_key_that_the_template_ignores(key: str) -> None:
    row = {"messages": [USER, ANSWER | {key: "Oslo is in Norway."}]}
    assert parts(row, plain(USER, ANSWER)) == [("thought", 2)]
    written = {"role": "assistant", "content": "<think>\nOslo is in Norway.\n</think>\n\nIt is 21 degrees."}
    assert parts(row, plain(USER, written)) == []


def test_think_in_an_earlier_turn_that_the_template_strips() -> None:
    thinking = {"role": "assistant", "content": "<think>Norway.</think>\n\nIt is 21 degrees."}
    row = {"messages": [USER, thinking, USER, {"role": "assistant", "content": "<think>Same.</think>\nStill 21."}]}
    text = plain(USER, ANSWER, USER, row["messages"][-1])
    assert parts(row, text) == [("thought", 2)]
    assert parts(row, text, last_answer_only=True) == []
    assert parts(row, plain(*row["messages"])) == []


def test_a_stripped_thought_that_is_the_whole_answer_is_an_empty_answer() -> None:
    row = {"messages": [USER, {"role": "assistant", "content": "<think>Norway.</think>"}, USER, ANSWER]}
    text = plain(USER, {"role": "assistant", "content": ""}, USER, ANSWER)
    assert parts(row, text) == [("thought", 2), ("empty_answer", 2)]


def test_an_empty_answer_in_the_middle() -> None:
    row = {"messages": [USER, {"role": "assistant", "content": " "}, USER, ANSWER]}
    assert parts(row, plain(*row["messages"])) == [("empty_answer", 2)]


def test_a_turn_and_a_system_text_that_the_template_skips() -> None:
    system = {"role": "system", "content": "Answer in Celsius."}
    second = {"role": "user", "content": "And in Bergen?"}
    row = {"messages": [system, USER, ANSWER, second, {"role": "assistant", "content": "19."}]}
    assert parts(row, plain(USER, ANSWER, row["messages"][4])) == [("system", 1), ("turn", 4)]


def test_a_system_column_beside_another_system_turn() -> None:
    system = {"role": "system", "content": "Answer in Celsius."}
    row = {"messages": [system, USER, ANSWER], "system": "Be kind."}
    assert parts(row, plain(system, USER, ANSWER)) == [("system", 0)]
    assert parts(row | {"system": "Answer in Celsius."}, plain(system, USER, ANSWER)) == []


def test_turns_after_the_last_answer() -> None:
    row = {"messages": [USER, ANSWER, {"role": "user", "content": "Thanks!"}]}
    assert parts(row, plain(USER, ANSWER)) == [("unanswered", 3)]


def test_alpaca_system_and_history_columns() -> None:
    row = {"instruction": "And in Bergen?", "input": "", "output": "19.", "system": "Be brief.",
           "history": [["How warm is it in Oslo?", "21."]]}  # fmt: skip
    text = "### Instruction:\nAnd in Bergen?\n\n### Response:\n19.</s>"
    assert parts(row, text, PAIR) == [("system", 0), ("history", 0)]
    assert parts(row, f"Be brief.\nHow warm is it in Oslo? 21.\n{text}", PAIR) == []


def test_an_input_that_the_prompt_template_has_no_place_for() -> None:
    row = {"instruction": "Add.", "input": "one, two", "output": "three"}
    assert parts(row, "### Instruction:\nAdd.\n\n### Response:\nthree</s>", PAIR) == [("column", 0)]


def test_a_short_value_is_not_found_inside_another() -> None:
    """The result 5 is in the answer, but no text of its own."""
    row = {
        "messages": [USER, CALLED, {"role": "tool", "content": "5"}, {"role": "assistant", "content": "It is 5."}]
    }
    text = plain(USER, {"role": "assistant", "content": json.dumps(CALL["function"])}, row["messages"][3])
    assert parts(row, text) == [("tool_result", 3)]


@pytest.mark.parametrize("ascii_only", [False, True])
def test_values_written_as_json_are_found(ascii_only: bool) -> None:
    call = {"function": {"name": "search", "arguments": {"query": 'a "quoted" 你好\nline'}}}
    row = {"messages": [USER, {"role": "assistant", "content": "", "tool_calls": [call]},
                        {"role": "tool", "content": "two\nlines"}, ANSWER]}  # fmt: skip
    as_text = json.dumps(call["function"], ensure_ascii=ascii_only, indent=4)
    text = plain(
        USER, {"role": "assistant", "content": as_text}, {"role": "tool", "content": '"two\\nlines"'}, ANSWER
    )
    assert parts(row, text) == []
    twice = {"name": "search", "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=ascii_only)}
    text = text.replace(as_text, json.dumps(twice, ensure_ascii=ascii_only))
    assert parts(row, text) == []


def test_characters_that_the_tokenizer_loses_are_found_in_the_decoded_text() -> None:
    row = {"messages": [USER, {"role": "assistant", "content": "你好"}]}
    text = plain(*row["messages"])
    assert parts(row, text, decoded=text.replace("你好", "<unk>")) == [("characters", 2)]
    assert parts(row, text, decoded=text.replace("\n", " ")) == []


def test_a_list_or_object_as_an_answer_is_learned_as_json() -> None:
    assert parts({"instruction": "Q", "output": {"text": ["A"]}}, 'Q {"text": ["A"]}', PAIR) == [("json_answer", 0)]
    row = {"messages": [USER, {"role": "assistant", "content": {"degrees": 21}}]}
    assert parts(row, plain(USER, {"role": "assistant", "content": '{"degrees": 21}'})) == [("json_answer", 2)]
    texts = {"role": "assistant", "content": [{"type": "text", "text": "It is "}, {"type": "text", "text": ""}]}
    assert parts({"messages": [USER, texts]}, plain(USER, {"role": "assistant", "content": "It is "})) == []


def test_the_finding_names_the_row_and_the_value() -> None:
    found = Finding("tool_call", "weather", 2).describe(7)
    assert "7" in str(found)
    assert "weather" in str(found)


@pytest.mark.parametrize(
    ("content", "thoughts", "texts"),
    [
        ("Plain.", [], ["Plain."]),
        ("<think>a</think>b", ["a"], ["b"]),
        ("x <think>a</think> b <thinking>c</thinking>", ["a", "c"], ["x ", " b "]),
        ("a\n</think>\nb", ["a\n"], ["\nb"]),
        ("<think>never closed", ["never closed"], []),
        ("[THINK]a[/THINK]b", ["a"], ["b"]),
        ("<think></think>b", [], ["b"]),
    ],
)
def test_thoughts_are_split_from_answers(content: str, thoughts: list[str], texts: list[str]) -> None:
    assert split_thoughts(content) == (thoughts, texts)


def asked(mapping_of: dict[str, Any], method: str) -> Mapping:
    return detect([mapping_of], DatasetSpec(), method).mapping


def test_pairs_votes_and_prompts_are_compared_with_the_texts_of_their_sides() -> None:
    pair = {"prompt": [USER], "chosen": [ANSWER], "rejected": [ANSWER | {"content": "No idea."}]}
    chosen, rejected = plain(USER, ANSWER), plain(USER, pair["rejected"][0])
    mapping = asked(pair, "dpo")
    assert parts(pair, chosen + rejected, mapping) == []
    assert parts(pair, chosen, mapping) == [("turn", 2), ("empty_answer", 2)]
    scored = {"question": "Warm?", "answers": ["No.", "Yes.", "So."], "scores": [1, 3, 2]}
    assert parts(scored, "Warm? Yes. Warm? No.", asked(scored, "dpo")) == []  # the third answer is not used
    assert parts(scored, "Warm? Yes. Warm?", asked(scored, "dpo")) == [("column", 0)]
    vote = {"prompt": "Warm?", "completion": "Yes.", "label": True}
    assert parts(vote, "Warm? Yes.", asked(vote, "kto")) == []
    assert parts(vote, "Warm?", asked(vote, "kto")) == [("column", 0)]
    prompt = {"prompt": [{"role": "system", "content": "Be brief."}, USER], "answer": "21"}
    assert parts(prompt, plain(*prompt["prompt"]), asked(prompt, "grpo")) == []  # the model writes the answer
    assert parts(prompt, plain(USER), asked(prompt, "grpo")) == [("system", 1)]
