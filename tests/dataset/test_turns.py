"""Normalized turns."""

from __future__ import annotations

import pytest

from engine.dataset.mapping import BadRow, Mapping
from engine.dataset.turns import is_json_content, normalize_turns

TEXT = {"type": "text", "text": "Yes."}
ASKED = {"role": "user", "content": "Really?"}


def test_tool_calls_are_normalized() -> None:
    call = {"id": "1", "index": None, "function": {"name": "f", "arguments": '{"x": 1}'}}
    [turn] = normalize_turns(
        [{"role": "assistant", "content": None, "tool_calls": [call], "name": None, "weight": 1}]
    )
    assert turn == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"x": 1}}}],
    }


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([TEXT, {"type": "text", "text": ""}], "Yes."),
        ([TEXT, {"type": "text", "text": None}], "Yes."),
        ([TEXT, {"text": " No."}], "Yes. No."),
        ([{"type": "output_text", "text": "Yes.", "image_url": None}], "Yes."),
        (["Yes.", " No."], "Yes. No."),
        ([], ""),
        (None, ""),
    ],
)
def test_content_parts_are_joined(content: object, text: str) -> None:
    """An empty part made the whole answer JSON."""
    turn = {"role": "assistant", "content": content}
    assert normalize_turns([turn])[0]["content"] == text
    assert not is_json_content(turn)


def test_a_thinking_part_is_a_thought() -> None:
    parts = [{"type": "thinking", "thinking": "Hm."}, TEXT]
    [turn] = normalize_turns([{"role": "assistant", "content": parts}])
    assert (turn["content"], turn["reasoning_content"]) == ("Yes.", "Hm.")


@pytest.mark.parametrize("kind", ["image", "image_url", "input_audio", "video", "tool_use"])
def test_an_image_or_audio_part_is_a_bad_row(kind: str) -> None:
    mapping = Mapping(kind="messages", turns=("messages",))
    with pytest.raises(BadRow) as bad:
        mapping.example({"messages": [{"role": "user", "content": [TEXT, {"type": kind, "text": None}]}, ASKED]})
    words = str(bad.value.describe(3))
    assert "Row 3: turn 1" in words
    assert kind in words
    assert "trains on text" in words


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2], [{"a": 1}]])
def test_other_content_is_json(content: object) -> None:
    assert is_json_content({"role": "assistant", "content": content})
