"""One setting of a spec and its new value."""

from collections.abc import Mapping
from typing import Any

import msgspec

from engine.config.check import build_spec
from engine.config.either_or import replaced_by
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from engine.config.spec_files import to_values


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A setting to change, such as training.per_device_train_batch_size, and its new value."""

    field: str
    value: bool | int | float | str


def apply_changes(spec: RunSpec, changes: tuple[Change, ...]) -> RunSpec:
    """The spec with these settings replaced. Raises `SpecError` naming each that is wrong."""
    return replace_settings(spec, {change.field: change.value for change in changes})


def replace_settings(spec: RunSpec, changes: Mapping[str, Any]) -> RunSpec:
    """The same with values of any type, by field, such as dataset.role_names."""
    values = to_values(spec)
    for field, value in changes.items():
        section, _, key = field.rpartition(".")
        (values.setdefault(section, {}) if section else values)[key] = value
        if (other := replaced_by(field, value)) and other not in changes:
            values[section].pop(other.rpartition(".")[2], None)
    new, errors = build_spec(values)
    if new is None or errors:
        raise SpecError(None, errors)
    return new
