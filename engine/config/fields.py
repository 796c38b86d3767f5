"""The fields of the run spec: labels, help, choices, bounds, and the check of a single value.

msgspec stops at the first bad value and its errors are for programmers. A form needs every error, in plain language
and next to its field, so values are converted one at a time and the messages are ours.
"""

import math
from collections.abc import Callable
from functools import cache, reduce
from operator import or_
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect

from engine.config.object_lines import parse_line
from engine.config.run_spec import SECTIONS, RunSpec, Section
from engine.config.section import CHOICES, EXPLAIN
from engine.config.spelling import did_you_mean as did_you_mean
from engine.messages.message import Message, say

MOST_CHARACTERS = 80  # of a name or a value that an error quotes

Kind = Literal["int", "float", "bool", "text", "choice", "choices", "lines", "none"]


class FieldError(msgspec.Struct, frozen=True):
    """An error in one field. `field` is dotted, as in training.learning_rate; `line` counts from 1."""

    field: str
    message: Message
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else str(self.message)


class FieldInfo(msgspec.Struct, frozen=True):
    """One field of the spec, for forms and documentation. Bounds are None where there are none.

    `objects`: the type of the objects that its lines can be; None where they are texts. `explain`: what is wrong
    with a value that is not of the field's type, where a general text would not do.
    """

    path: str
    kind: Kind
    type: Any
    default: Any
    title: str
    help: str
    choices: tuple[Any, ...] = ()
    low: float | None = None
    low_excluded: bool = False
    high: float | None = None
    required: bool = False
    objects: Any = None
    explain: Callable[[object], Message | None] | None = None

    @property
    def key(self) -> str:
        """The name without its section, as the library spells it."""
        return self.path.rpartition(".")[2]


def _kind(kind: inspect.Type) -> Kind:
    match kind:
        case inspect.BoolType():
            return "bool"
        case inspect.IntType():
            return "int"
        case inspect.FloatType():
            return "float"
        case inspect.StrType():
            return "text"
        case inspect.NoneType():
            return "none"
        case inspect.LiteralType() | inspect.UnionType():
            return "choice"
        case inspect.VarTupleType(item_type=inspect.LiteralType()):
            return "choices"
        case inspect.VarTupleType(item_type=inspect.StrType()):
            return "lines"
        case inspect.VarTupleType() if _objects(kind):
            return "lines"
    raise TypeError(f"the run spec has a field of a kind that no form shows: {kind}")


def _objects(kind: inspect.Type) -> tuple[type, ...]:
    """The types of the objects that the lines of a field can be besides texts."""
    parts = (
        kind.item_type.types
        if isinstance(kind, inspect.VarTupleType) and isinstance(kind.item_type, inspect.UnionType)
        else ()
    )
    found = tuple(part.cls for part in parts if isinstance(part, inspect.StructType))
    return found if len(found) + 1 == len(parts) else ()


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The values that an annotation allows, in its own order (msgspec sorts them)."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if annotation is bool:
        return (True, False)
    if annotation is NoneType:
        return (None,)
    return tuple(value for part in get_args(annotation) for value in _choices(part))


def _describe(prefix: str, field: inspect.Field, annotation: Any) -> FieldInfo:
    meta = field.type
    if not isinstance(meta, inspect.Metadata):
        raise TypeError(f"{prefix}{field.name} has no label: annotate it with about(...)")
    extra = meta.extra_json_schema or {}
    own = meta.extra or {}
    offered = own.get(CHOICES, ())
    objects = _objects(meta.type)
    low = getattr(meta.type, "ge", None)
    above = getattr(meta.type, "gt", None)
    return FieldInfo(
        path=prefix + field.name,
        kind="choices" if offered else _kind(meta.type),
        type=annotation,
        default=field.default,
        title=extra["title"],
        help=extra["description"],
        choices=tuple(offered) or _choices(annotation),
        low=low if low is not None else above,
        low_excluded=above is not None,
        high=next((b for name in ("le", "lt") if (b := getattr(meta.type, name, None)) is not None), None),
        required=bool(getattr(meta.type, "min_length", 0)),
        objects=reduce(or_, objects) if objects else None,
        explain=own.get(EXPLAIN),
    )


@cache
def section_fields(section: str) -> dict[str, FieldInfo]:
    """The fields of a section by key, in order; the section "" has the run's name and description."""
    owner: type[Section] = SECTIONS[section] if section else RunSpec
    described = inspect.type_info(owner)
    assert isinstance(described, inspect.StructType)
    prefix = f"{section}." if section else ""
    hints = get_type_hints(owner, include_extras=True)
    return {
        f.name: _describe(prefix, f, hints[f.name]) for f in described.fields if section or f.name not in SECTIONS
    }


def field_info(path: str) -> FieldInfo:
    """The field at a dotted path. Raises KeyError when there is none."""
    section, _, key = path.rpartition(".")
    return section_fields(section)[key]


def _as_yaml(value: Any) -> str:
    """A value as written in YAML, its start if it is long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)[:MOST_CHARACTERS]


def _number_error(info: FieldInfo) -> Message:
    whole = info.kind == "int"
    low, high = (_as_yaml(int(b) if b is not None and whole else b) for b in (info.low, info.high))
    if whole:
        return say("Give a whole number from {low} to {high}.", low=low, high=high)
    if info.low_excluded:
        return say("Give a number above {low}, {high} at most.", low=low, high=high)
    return say("Give a number from {low} to {high}.", low=low, high=high)


def _value_error(info: FieldInfo, value: Any) -> Message:
    """Why `value` is not valid for the field."""
    if info.explain and (reason := info.explain(value)):
        return reason
    match info.kind:
        case "int" | "float":
            return _number_error(info)
        case "bool":
            return say("Give true or false.")
        case "none":  # of LoftQ
            return say(
                '"{value}" is not one of null. LoftQ changes the base weights, and the saved adapter would not fit '
                "the published ones that it is loaded with later.",
                value=_as_yaml(value),
            )
        case "choice":
            choices = [_as_yaml(c) for c in info.choices]
            near = did_you_mean(_as_yaml(value), choices)
            if near:
                return say(
                    '"{value}" is not one of {choices}. Did you mean {near}?',
                    value=_as_yaml(value), choices=", ".join(choices), near=near,
                )  # fmt: skip
            return say('"{value}" is not one of {choices}.', value=_as_yaml(value), choices=", ".join(choices))
        case "choices":
            if value in ((), []):
                return say("Choose at least one.")
            return say("Give a list of these: {choices}.", choices=", ".join(info.choices))
        case "lines":
            return say("Give a list of texts.")
        case _:
            if value == "":
                return say("This cannot be empty.")
            return say("Give a text; put it in quotes if it looks like a number or a date.")


def parse_field(info: FieldInfo, value: Any) -> tuple[Any, Message | None]:
    """Turn a value from a form or a file into the field's type: (value, None), or (value as given, error)."""
    if isinstance(value, str) and info.kind not in ("text", "lines"):
        value = value.strip()
    if info.objects and isinstance(value, (list, tuple)):
        value = [parse_line(line, info.objects) for line in value]
    if info.kind == "choices" and isinstance(value, str):
        value = [name for part in value.split(",") if (name := part.strip())]
    if info.kind == "choice" and isinstance(value, str) and value in ("true", "false"):
        value = value == "true" if True in info.choices else value
    wrong_type = isinstance(value, bool) and info.kind in ("int", "float")
    try:
        # Lenient for numbers and switches, so that 2e-4 is a number however YAML or a form gives it.
        lenient = info.kind in ("int", "float", "bool")
        parsed = msgspec.convert(value, info.type, strict=not lenient)
    except msgspec.ValidationError:
        return value, _value_error(info, value)
    if wrong_type or (isinstance(parsed, float) and not math.isfinite(parsed)):
        return value, _value_error(info, value)
    if isinstance(parsed, str) and info.required and not parsed.strip():
        return value, _value_error(info, "")
    return parsed, None
