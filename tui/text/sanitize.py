"""Makes foreign text harmless: control characters of a model, dataset or log are shown, never interpreted.

Two layers: `visible` is called where foreign text enters; `VisibleFilter` checks every line that the app is
about to draw, in case some text was missed.
"""

import re

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

# C0 without tab and newline, DEL, C1, the bidirectional controls that can reorder a line, lone surrogates.
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def _glyph(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)  # the Unicode pictures of control characters: ESC shows as one character
    return "␡" if code == 0x7F else "�"


def visible(text: str) -> str:
    """The text with every control character as a visible character of the same width; tabs and newlines stay."""
    return UNSAFE.sub(_glyph, text.replace("\r\n", "\n"))


class VisibleFilter(LineFilter):
    """The second layer: checks each line's segments just before they are drawn."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        if not any(UNSAFE.search(s.text) for s in segments if not s.control):
            return segments
        return [s if s.control else Segment(UNSAFE.sub(_glyph, s.text), s.style) for s in segments]
