"""What is wrong with a spec, as an exception."""

from __future__ import annotations

from pathlib import Path

from engine.config.fields import FieldError


class SpecError(Exception):
    """A spec file that cannot be used: `errors` holds one `FieldError` for each thing that is wrong."""

    def __init__(self, path: Path | None, errors: list[FieldError]) -> None:
        self.path, self.errors = path, errors
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """One line an error, as compilers write them: file:line: field: what to do."""
        name = str(self.path) if self.path else ""
        return [":".join(filter(None, (name, str(e.line or ""), f" {e}"))).lstrip() for e in self.errors]
