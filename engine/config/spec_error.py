"""What is wrong with a spec, as an exception."""

from __future__ import annotations

from pathlib import Path

from engine.config.fields import FieldError
from engine.messages.errors import UserError
from engine.messages.exit_codes import BAD_INPUT


class SpecError(UserError):
    """A spec file that cannot be used: `errors` holds one `FieldError` for each thing that is wrong."""

    def __init__(self, path: Path | None, errors: list[FieldError]) -> None:
        self.path, self.errors = path, errors
        super().__init__("spec_invalid", errors[0].message, None, errors[0].field)

    @property
    def exit_code(self) -> int:
        return BAD_INPUT

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """One line an error, as compilers write them: file:line: field: what to do."""
        name = str(self.path) if self.path else ""
        return [":".join(filter(None, (name, str(e.line or ""), f" {e}"))).lstrip() for e in self.errors]
