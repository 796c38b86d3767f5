"""Values of settings, as shown and as typed."""

import re
from typing import Any

from tui.text.translation import _

LONGEST_VALUE = 40
_ESCAPED = re.compile(r"\\([\\nt])")


def escape(text: str) -> str:
    """The text on one line: with backslash escapes for newline and tab."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def unescape(text: str) -> str:
    """The inverse of `escape`."""
    signs = {"\\": "\\", "n": "\n", "t": "\t"}
    return _ESCAPED.sub(lambda found: signs[found[1]], text)


def shown(value: Any) -> str:
    """A value as YAML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def describe_value(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else escape(shown(value))
    if text == "":
        return _("empty")
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
