"""Normalized turns."""

from __future__ import annotations

from engine.dataset.turns import normalize_turns


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
