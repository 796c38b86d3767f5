"""Removes the nulls that a table puts into nested values.

A column of objects has one type in Arrow: the union of all their keys. A tool call with other arguments than the
rest comes back with theirs as well, all null.
"""

from collections.abc import Mapping
from typing import Any

from engine.dataset.turns import is_turn


def without_table_nulls(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table without null entries in nested objects. Columns and turns keep all their keys."""
    return {name: _without_nulls(value) for name, value in row.items()}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        keep = is_turn(value)
        return {key: _without_nulls(part) for key, part in value.items() if keep or part is not None}
    if isinstance(value, list):
        return [_without_nulls(part) for part in value]
    return value
