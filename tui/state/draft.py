"""What the user has filled in so far: every field as typed, valid or not, so that nothing is ever lost."""

from __future__ import annotations

from typing import Any

from engine.config.check import build_spec
from engine.config.fields import FieldError, field_info, parse_field, section_fields
from engine.config.presets import Difference
from engine.config.run_spec import SECTIONS, ModelSpec, RunSpec
from engine.config.spec_files import to_values
from engine.messages.message import Message


class Draft:
    """A run spec in the making. It starts from a preset and keeps what differs from it as it was typed.

    `blamed` holds what others than the form found wrong with a field: the preflight, or an engine that refused.
    """

    def __init__(self, preset: RunSpec | None = None) -> None:
        self.preset = preset or RunSpec()
        self.blamed: dict[str, Message] = {}
        self._typed: dict[str, Any] = {}

    def __getitem__(self, path: str) -> Any:
        """The field's value: what the user typed if it was changed, else the preset's."""
        if path in self._typed:
            return parse_field(field_info(path), self._typed[path])[0]
        return self._of_preset(path)

    def __setitem__(self, path: str, value: Any) -> None:
        self._typed[path] = value
        self.blamed.pop(path, None)

    def as_typed(self, path: str) -> Any:
        """The field's value in the user's own notation: 2e-4 stays 2e-4."""
        return self._typed[path] if path in self._typed else self._of_preset(path)

    def differs(self, path: str) -> bool:
        """Whether the field is not as in the preset."""
        return path in self._typed and bool(self[path] != self._of_preset(path))

    @property
    def touched(self) -> bool:
        """Whether anything is not as in the preset."""
        return any(self.differs(path) for path in self._typed)

    def changes(self) -> list[Difference]:
        """What differs from the preset, in the order of the wizard; values that are wrong are among it."""
        paths = [info.path for section in SECTIONS for info in section_fields(section).values()]
        return [Difference(path, self._of_preset(path), self[path]) for path in paths if self.differs(path)]

    def settle(self, preset: RunSpec) -> None:
        """Count everything as unchanged: these are the values, and they have been saved."""
        self.preset = preset
        self._typed.clear()

    def values(self) -> dict[str, Any]:
        """Nested plain values, as in YAML, with the typed ones in place."""
        values = to_values(self.preset)
        for path in self._typed:
            section, _, key = path.rpartition(".")
            (values[section] if section else values)[key] = self[path]
        return values

    def build(self) -> tuple[RunSpec | None, list[FieldError]]:
        """The spec and everything that is wrong with it, as `engine.config.check.build_spec`."""
        return build_spec(self.values())

    def errors(self) -> dict[str, Message]:
        """What is wrong, by field: the form's own findings before those of others."""
        return {**self.blamed, **{error.field: error.message for error in self.build()[1]}}

    def model(self) -> ModelSpec | None:
        """The model section alone, or None while it has errors: enough to start an engine with."""
        spec, _ = build_spec({"model": self.values()["model"]})
        return spec.model if spec else None

    def sound_parts(self) -> RunSpec:
        """A spec of the sections that have no errors, the preset's in place of the others."""
        values = to_values(self.preset)
        mine = self.values()
        for section in SECTIONS.keys() & mine.keys():
            if build_spec({section: mine[section]})[0] is not None:
                values[section] = mine[section]
        spec, _ = build_spec(values)
        return spec or self.preset

    def _of_preset(self, path: str) -> Any:
        section, _, key = path.rpartition(".")
        return getattr(getattr(self.preset, section) if section else self.preset, key)
