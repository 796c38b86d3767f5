"""Texts of errors: on the command line, one line each with place and message."""

import sys
from pathlib import Path

from engine.config.fields import FieldError
from engine.config.spec_error import SpecError
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from tui.text.sanitize import visible
from tui.text.translation import render


def print_error(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr)  # noqa: T201


def with_hint(message: Message, hint: Message | None) -> str:
    """The message and, where known, the hint."""
    return " ".join(render(part) for part in (message, hint) if part)


def error_lines(path: Path, errors: list[FieldError]) -> list[str]:
    """One line per error, in the style of compilers: file:line: field: what to do."""
    found = []
    for error in errors:
        place = f"{path}:{error.line}" if error.line else str(path)
        parts = [place, error.field, " ".join(render(error.message).split())]
        found.append(visible(": ".join(part for part in parts if part)))
    return found


def describe_error(error: UserError | OSError) -> str:
    """The error for a notice: a line for each field, or for the file if no field is at fault."""
    if isinstance(error, SpecError):
        places = ((one, one.field or str(error.path or "")) for one in error.errors)
        return "\n".join(": ".join(filter(None, (place, render(one.message)))) for one, place in places)
    if isinstance(error, UserError):
        return with_hint(error.message, error.hint)
    return error.strerror or str(error)


def fail(error: UserError, path: Path | None = None) -> int:
    """Print the error on standard error; returns the exit code. `path`: the file of a `SpecError`."""
    if isinstance(error, SpecError):
        lines = error_lines(path or error.path or Path(), error.errors)
    else:
        option = error.field if error.field.startswith("--") else ""
        words = " ".join(with_hint(error.message, error.hint).split())
        lines = [visible(": ".join(filter(None, (option, words))))]
    print_error("\n".join(lines))
    return error.exit_code


def startup_error(error: UserError | OSError) -> Message:
    """Why something failed, as a message."""
    if isinstance(error, UserError):
        return error.message
    return say("The engine could not be started: {reason}", reason=error.strerror or str(error))
