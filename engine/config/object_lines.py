"""Fields whose lines are texts or objects: an object is a mapping in YAML, and a line of JSON in a form."""

import json
from typing import Any

import msgspec


class ObjectLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object among the lines of a field. Its text is the line of JSON."""

    def __str__(self) -> str:
        return json.dumps(msgspec.to_builtins(self), ensure_ascii=False)


def parse_line(line: object, kind: Any) -> object:
    """The object in a line of JSON, of the type `kind`; anything else unchanged."""
    if isinstance(line, str) and line.lstrip().startswith("{"):
        try:
            return msgspec.json.decode(line, type=kind)
        except msgspec.DecodeError:
            return line
    return line
