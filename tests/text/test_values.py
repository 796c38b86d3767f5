"""Values as they are typed."""

from __future__ import annotations

import pytest

from tui.text.values import escape, unescape


@pytest.mark.parametrize("text", ["", "a\nb", "\\n", "\\\\n\n", "tab\there", "end\\"])
def test_escapes_come_back(text: str) -> None:
    assert unescape(escape(text)) == text
    assert "\n" not in escape(text)


@pytest.mark.timeout(10)
def test_a_long_text_is_read_at_once():
    assert unescape(r"\n" * 500_000) == "\n" * 500_000
