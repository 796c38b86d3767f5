"""JSON for standard output, which may be a terminal."""

import json

import msgspec

from tui.text.sanitize import UNSAFE


def to_json(value: object, indent: int = 0) -> str:
    """The value, in one line without `indent`. Control characters that JSON lets through, such as C1, are escaped.

    So are the bytes of a file name that is not UTF-8, as lone surrogates, as Python decodes them.
    """
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":"))
    text = UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return msgspec.json.format(text, indent=indent) if indent else text
