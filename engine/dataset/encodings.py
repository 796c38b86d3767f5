"""Tells in which encoding a text file is: UTF-8 and UTF-16 are read, others are guessed and named."""

import codecs
from contextlib import suppress

from engine.messages.message import Message, say

GUESSED_BYTES = 64 << 10
# What a guess is worth beforehand, as short Chinese texts read well as Korean or Japanese too.
_USUAL = {"gb18030": 0.05, "big5": 0.08, "shift_jis": 0.0, "euc_kr": 0.0, "cp1252": 0.0}


def encoding_of(start: bytes) -> str:
    """The encoding of a text file by its first bytes: UTF-8, or UTF-16 with or without a byte order mark."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    head = start[:200]
    if b"\0" in head:  # every second byte of ASCII in UTF-16
        return "utf-16-be" if head[:1] == b"\0" else "utf-16-le"
    return "utf-8"


def guess_encoding(data: bytes) -> str:
    """The most likely encoding of bytes that are not UTF-8, as the setting spells it; "" if none fits."""
    from charset_normalizer import from_bytes  # slow to import

    lines = b"\n".join(line for line in data[:GUESSED_BYTES].splitlines() if not line.isascii())
    found = [match for match in from_bytes(lines, cp_isolation=list(_USUAL)) if match.encoding in _USUAL]
    if best := max(found, key=lambda match: match.coherence - match.chaos + _USUAL[match.encoding], default=None):
        return best.encoding
    with suppress(UnicodeDecodeError):  # text with many accents is taken for none of them
        lines.decode("cp1252")
        return "cp1252"
    return ""


def not_utf8(data: bytes) -> Message:
    """The error for text in another encoding, which is named if it can be guessed."""
    if guess := guess_encoding(data):
        return say(
            "This file is not UTF-8 text but looks like {encoding}. Set encoding: {encoding}, or save it as UTF-8.",
            encoding=guess,
        )
    return say("This file is not UTF-8 text: save it as UTF-8, or set its encoding.")
