"""One setting of a spec and its new value."""

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
    values = to_values(spec)
    changed = {change.field for change in changes}
    for change in changes:
        section, _, key = change.field.rpartition(".")
        (values.setdefault(section, {}) if section else values)[key] = change.value
        if (other := replaced_by(change.field, change.value)) and other not in changed:
            values[section].pop(other.rpartition(".")[2], None)
    new, errors = build_spec(values)
    if new is None or errors:
        raise SpecError(None, errors)
    return new
