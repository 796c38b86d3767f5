"""Messages render in any language, even from a broken template."""

from __future__ import annotations

from engine.messages.message import Message, say


def test_messages_render_in_any_language_and_never_fail():
    message = say("took {n}", n=1)
    assert str(message) == "took 1"
    assert message.render(lambda text: "用了 {n}") == "用了 1"
    assert Message("lost {x}").render() == "lost {x}"
    assert Message("bad {").render() == "bad {"
