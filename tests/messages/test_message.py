"""Messages render in any language, even from a broken template."""

from __future__ import annotations

import pytest

from engine.messages.message import Message, say


def test_messages_render_in_any_language_and_never_fail():
    message = say("took {n}", n=1)
    assert str(message) == "took 1"
    assert message.render(lambda text: "用了 {n}") == "用了 1"
    assert Message("lost {x}").render() == "lost {x}"
    assert Message("bad {").render() == "bad {"


@pytest.mark.parametrize(
    "template",
    ["{n:>99999999999}", "{n!r:>99999999999}", "{n.__class__}", "{n[0]}", "{0}", "{}", "{n", "n}"],
)
def test_only_plain_placeholders_are_filled(template: str):
    """An event may come from someone else: `str.format` would take 100 GB for the first of these."""
    assert Message(template, {"n": 7}).render() == template


def test_braces_and_values_are_literal():
    message = Message("{{n}} is {n}, {a}, {b}, {c}", {"n": "{a}", "a": 0.5, "b": True, "c": None})
    assert message.render() == "{n} is {a}, 0.5, True, None"
