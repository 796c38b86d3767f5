"""What the user has filled in so far: every field as typed, valid or not, so that nothing is ever lost."""

from __future__ import annotations

from typing import Any

from engine.spec.check import build
from engine.spec.fields import FieldError, field_info, parse_field
from engine.spec.files import to_values
from engine.spec.run import ModelSpec, RunSpec


class Draft:
    """A run spec in the making. It starts from a preset and keeps what differs from it as it was typed."""

    def __init__(self, preset: RunSpec | None = None) -> None:
        self.preset = preset or RunSpec()
        self._typed: dict[str, Any] = {}

    def __getitem__(self, path: str) -> Any:
        """The field's value: as typed if the user changed it, else the preset's."""
        if path in self._typed:
            return self._typed[path]
        section, _, key = path.rpartition(".")
        return getattr(getattr(self.preset, section) if section else self.preset, key)

    def __setitem__(self, path: str, value: Any) -> None:
        parsed, error = parse_field(field_info(path), value)
        self._typed[path] = value if error else parsed

    def values(self) -> dict[str, Any]:
        """Nested plain values, as in YAML, with the typed ones in place."""
        values = to_values(self.preset)
        for path, value in self._typed.items():
            section, _, key = path.rpartition(".")
            (values[section] if section else values)[key] = value
        return values

    def build(self) -> tuple[RunSpec | None, list[FieldError]]:
        """The spec and everything that is wrong with it, as `engine.spec.check.build`."""
        return build(self.values())

    def model(self) -> ModelSpec | None:
        """The model section alone, or None while it has errors: enough to start an engine with."""
        spec, _ = build({"model": self.values()["model"]})
        return spec.model if spec else None
