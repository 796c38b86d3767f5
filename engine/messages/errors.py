"""The base class of errors shown to the user, and helpers for exceptions of libraries."""

import copyreg
from collections.abc import Iterator
from typing import Any

from engine.messages.exit_codes import exit_code_of
from engine.messages.message import Message


class UserError(Exception):
    """An error for the user. `code`: the cause, for programs; `hint`: what to do; `field`: the wrong setting.

    Subclasses exist to be caught by type, or to carry more fields.
    """

    def __init__(self, code: str, message: Message, hint: Message | None = None, field: str = "") -> None:
        self.code, self.message, self.hint, self.field = code, message, hint, field
        super().__init__(code, message, hint, field)

    def __str__(self) -> str:
        return str(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without calling `__init__`, because subclasses have other parameters."""
        return copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]  # not in typeshed

    def event_fields(self) -> dict[str, Any]:
        """The fields that all failure events share."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "field": self.field}

    @property
    def exit_code(self) -> int:
        return exit_code_of(self.field)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, then its causes and contexts, nearest first."""
    visited: set[int] = set()
    while error is not None and id(error) not in visited:
        visited.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def last_line(error: BaseException) -> str:
    """The type of an exception and the last line of its text, 300 characters at most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"
