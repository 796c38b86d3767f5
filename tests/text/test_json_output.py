"""JSON on a terminal: nothing in it is obeyed, and it can always be written."""

from __future__ import annotations

import json
import os

import pytest

from engine.messages.message import say
from engine.protocol import events as ev
from tui.text.json_output import to_json
from tui.text.sanitize import visible


@pytest.mark.parametrize("indent", [0, 2])
def test_c1_and_other_control_characters_are_escaped(indent: int) -> None:
    value = {"text": "".join(map(chr, [*range(0xA0), 0x202E, 0x2066])), "名": ["你好", 1.5, None]}
    text = to_json(value, indent)
    assert visible(text) == text
    assert json.loads(text) == value
    assert ("\n" in text) == (indent > 0)
    assert "你好" in text


def test_an_event_is_one_line_that_is_decoded_to_the_same() -> None:
    event = ev.Notice(code="c", message=say("\x9b31m{x}", x="\x85"))
    text = to_json(event)
    assert "\n" not in text
    assert not set("\x9b\x85") & set(text)
    assert ev.decode(text.encode()) == event


def test_a_name_that_is_not_utf8_can_be_written_and_read_back() -> None:
    raw = "用户".encode("gbk")
    text = to_json({"path": os.fsdecode(raw)})
    assert text.encode()
    assert os.fsencode(json.loads(text)["path"]) == raw
