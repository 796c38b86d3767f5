"""The one exception for what a user has to be told, and what exceptions of libraries say of themselves."""

from __future__ import annotations

import copyreg
from collections.abc import Iterator
from typing import Any

from engine.messages.exit_codes import exit_code_of
from engine.messages.message import Message


class UserError(Exception):
    """What cannot be done, and why. `code`: the cause in a word; `hint`: what to do; `field`: the setting to blame.

    A subclass is for those who catch it by type, or for one that knows more.
    """

    def __init__(self, code: str, message: Message, hint: Message | None = None, field: str = "") -> None:
        self.code, self.message, self.hint, self.field = code, message, hint, field
        super().__init__(code, message, hint, field)

    def __str__(self) -> str:
        return str(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        """How it comes back from another process, whatever a subclass takes to be made."""
        return copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]  # not in typeshed

    def as_values(self) -> dict[str, Any]:
        """The fields that every event of a failure has."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "field": self.field}

    @property
    def exit_code(self) -> int:
        return exit_code_of(self.field)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and what it came from, nearest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def last_line(error: BaseException) -> str:
    """The type of an exception and the last line that it says, 300 characters at most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"
