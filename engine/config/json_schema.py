"""The part of JSON Schema that rewards use; other keywords are refused rather than ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.messages.message import Message, say

KEYWORDS = ("type", "required", "properties", "items", "enum")
NOTES = ("$schema", "$id", "title", "description", "default", "examples")  # say nothing about what is valid
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "number": (int, float), "integer": (int,),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip


def schema_error(schema: object, at: str = "schema") -> Message | None:
    """Why this is not a schema that `is_valid` can check; None if it is. `at`: where it is.

    The reason is a template with the place {entry}, for what has the schema.
    """
    if not isinstance(schema, Mapping):
        return say("{entry}: {at} is not a JSON schema: it must be an object.", at=at)
    for key, value in schema.items():
        if key in NOTES:
            continue
        if key not in KEYWORDS:
            return say(
                "{entry}: {at} uses {key}; these can be checked: {known}.",
                at=at,
                key=key,
                known=", ".join(KEYWORDS),
            )
        if reason := _keyword_error(key, value, at):
            return reason
    return None


def _keyword_error(key: str, value: object, at: str) -> Message | None:
    match key:
        case "type" if not _types_of(value):
            return say("{entry}: {at}.type must be one of {names}.", at=at, names=", ".join(_TYPES))
        case "required" if not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
            return say("{entry}: {at}.required must be a list of names.", at=at)
        case "enum" if not (isinstance(value, list) and value):
            return say("{entry}: {at}.enum must be a list of values.", at=at)
        case "items":
            return schema_error(value, f"{at}.items")
        case "properties":
            if not isinstance(value, Mapping):
                return say("{entry}: {at}.properties must be an object of schemas.", at=at)
            found = (schema_error(one, f"{at}.properties.{name}") for name, one in value.items())
            return next(filter(None, found), None)
    return None


def _types_of(value: object) -> list[str]:
    """The type names in the value of `type`; empty if one is unknown."""
    names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return names if all(isinstance(name, str) and name in _TYPES for name in names) else []


def is_valid(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a JSON value fits the schema."""
    if "type" in schema and not any(_has_type(value, name) for name in _types_of(schema["type"])):
        return False
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        return False
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return all(name in value for name in schema.get("required", ())) and all(
            is_valid(value[name], one) for name, one in properties.items() if name in value
        )
    if isinstance(value, list) and "items" in schema:
        return all(is_valid(one, schema["items"]) for one in value)
    return True


def _has_type(value: Any, name: str) -> bool:
    if isinstance(value, bool):  # an int to Python
        return name == "boolean"
    return isinstance(value, _TYPES[name]) or (
        name == "integer" and isinstance(value, float) and value.is_integer()
    )


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
