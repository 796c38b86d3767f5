"""Turns of a chat, as templates read them."""

from __future__ import annotations

from engine.dataset.turns import as_turns


def test_tool_calls_come_as_templates_read_them() -> None:
    call = {"id": "1", "index": None, "function": {"name": "f", "arguments": '{"x": 1}'}}
    [turn] = as_turns([{"role": "assistant", "content": None, "tool_calls": [call], "name": None, "weight": 1}])
    assert turn == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"x": 1}}}],
    }
