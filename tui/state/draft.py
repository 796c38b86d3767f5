"""What the user has filled in so far: every field as typed, valid or not, so that nothing is lost."""

from typing import Any

from engine.config.check import build_spec
from engine.config.either_or import (
    BY_EPOCHS,
    EPOCHS,
    PAIRED,
    STEPS,
    WARMUP,
    counts,
    default_warmup,
    off_value,
    replaced_by,
)
from engine.config.fields import FieldError, field_info, parse_field, section_fields
from engine.config.methods import FULL_FINETUNING, method_defaults
from engine.config.presets import Difference
from engine.config.run_spec import SECTIONS, ModelSpec, RunSpec, sections_of
from engine.config.spec_files import to_values
from engine.messages.message import Message

METHOD = "training.method"


class Draft:
    """An unfinished run spec. It starts from a preset and keeps the changes to it as typed.

    `reported_errors`: errors by field that the form did not find: of the preflight, or of an engine.
    """

    def __init__(self, preset: RunSpec | None = None) -> None:
        self.preset = preset or RunSpec()
        self.reported_errors: dict[str, Message] = {}
        self._typed: dict[str, Any] = {}

    def __getitem__(self, path: str) -> Any:
        """The field's value: what the user typed if it was changed, else the preset's."""
        if path in self._typed:
            return parse_field(field_info(path), self._typed[path])[0]
        return self._untyped(path)

    def __setitem__(self, path: str, value: Any) -> None:
        self._typed[path] = value
        self._typed.pop(replaced_by(path, value), None)
        self.reported_errors.pop(path, None)

    def as_typed(self, path: str) -> Any:
        """The field's value in the user's own notation: 2e-4 stays 2e-4."""
        return self._typed[path] if path in self._typed else self._untyped(path)

    def is_typed(self, path: str) -> bool:
        """Whether the value is the user's own."""
        return path in self._typed

    def differs(self, path: str) -> bool:
        """Whether the field differs from the preset."""
        return bool(self[path] != self._of_preset(path))

    @property
    def changed(self) -> bool:
        """Whether any field differs from the preset."""
        return any(self.differs(path) for path in (*self._typed, *PAIRED) if self._is_used(path))

    def changes(self) -> list[Difference]:
        """The changes to the preset: the method, then in the order of the wizard, including invalid values."""
        sections = sections_of(self[METHOD])
        paths = [info.path for section in sections for info in section_fields(section).values()]
        paths.sort(key=lambda path: path != METHOD)
        return [Difference(path, self._of_preset(path), self[path]) for path in paths if self.differs(path)]

    def mark_saved(self, preset: RunSpec) -> None:
        """Use the saved `preset` as the new base, without changes."""
        self.preset = preset
        self._typed.clear()

    def values(self) -> dict[str, Any]:
        """Nested plain values, as in YAML, with the typed ones in place."""
        values = self._preset_values()
        for path in (*self._following(), *PAIRED, *filter(self._is_used, self._typed)):
            section, _, key = path.rpartition(".")
            (values.setdefault(section, {}) if section else values)[key] = self[path]
        if EPOCHS not in self._typed and self[STEPS] != BY_EPOCHS:
            del values["training"]["num_train_epochs"]
        return values

    def build(self) -> tuple[RunSpec | None, list[FieldError]]:
        """The spec and all its errors, as `engine.config.check.build_spec`."""
        return build_spec(self.values())

    def errors(self) -> dict[str, Message]:
        """Errors by field; those that the form finds take precedence."""
        return {**self.reported_errors, **{error.field: error.message for error in self.build()[1]}}

    def model(self) -> ModelSpec | None:
        """The model section alone, enough to start an engine; None while it has errors."""
        spec, _ = build_spec({"model": self.values()["model"]})
        return spec.model if spec else None

    def valid_parts(self) -> RunSpec:
        """A spec of the sections that have no errors, the preset's in place of the others."""
        values = self._preset_values()
        mine = self.values()
        for section in SECTIONS.keys() & mine.keys():
            if build_spec({section: mine[section]})[0] is not None:
                values[section] = mine[section]
        spec, _ = build_spec(values)
        return spec or self.preset

    def usual(self, path: str) -> Any:
        """The field's default under the chosen training method."""
        return self._method_defaults[1].get(path, field_info(path).default)

    def _preset_values(self) -> dict[str, Any]:
        """The preset's, without the settings of a training method that is no longer chosen."""
        used = sections_of(self[METHOD])
        return {
            name: value for name, value in to_values(self.preset).items() if name not in SECTIONS or name in used
        }

    def _untyped(self, path: str) -> Any:
        """The value of a field that the user did not type: the preset's, or what follows from another one."""
        if (off := off_value(path, self._typed)) is not None:
            return off
        value = self._of_preset(path)
        if path not in (METHOD, FULL_FINETUNING):
            was, now = self._method_defaults
            usual = field_info(path).default
            if (path in was or path in now) and value == was.get(path, usual):
                value = now.get(path, usual)
        if path == WARMUP and value == default_warmup(self._of_preset(STEPS)):
            return default_warmup(self[STEPS] if counts(STEPS, self[STEPS]) else BY_EPOCHS)
        return value

    @property
    def _method_defaults(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The defaults of the preset's training method, and those of the chosen one."""
        preset = self.preset
        was = method_defaults(preset.training.method, preset.model.full_finetuning)
        return was, method_defaults(str(self[METHOD]), self[FULL_FINETUNING] is True)

    def _following(self) -> set[str]:
        """The fields whose values may follow from another training method than the preset's."""
        was, now = self._method_defaults
        return {*was, *now} if was != now else set()

    def _is_used(self, path: str) -> bool:
        """Whether the field counts for the chosen method. What was typed for another one is kept."""
        section = path.rpartition(".")[0]
        return not section or section in sections_of(self[METHOD])

    def _of_preset(self, path: str) -> Any:
        section, _, key = path.rpartition(".")
        return getattr(getattr(self.preset, section) if section else self.preset, key)
