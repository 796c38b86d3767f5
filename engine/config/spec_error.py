"""The exception for an invalid spec."""

from pathlib import Path

from engine.config.fields import FieldError
from engine.messages.errors import UserError
from engine.messages.exit_codes import BAD_INPUT


class SpecError(UserError):
    """A spec that cannot be used. `errors`: all errors in it, at least one."""

    def __init__(self, path: Path | None, errors: list[FieldError]) -> None:
        self.path, self.errors = path, errors
        super().__init__("spec_invalid", errors[0].message, None, errors[0].field)

    @property
    def exit_code(self) -> int:
        return BAD_INPUT

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """One line per error, in the format of compilers: file:line: field: message."""
        name = str(self.path) if self.path else ""
        return [":".join(filter(None, (name, str(e.line or ""), f" {e}"))).lstrip() for e in self.errors]
