"""The consent to a command after a run: given once, for one run and for the exact text of the command.

A preset from someone else may contain a command: opening the preset must not run it.
"""

import hashlib
from contextlib import suppress

from engine.runs.folder import RunFolder


def _digest(command: str) -> str:
    return hashlib.sha256(command.encode()).hexdigest()


def give_consent(folder: RunFolder, command: str) -> None:
    """Allow this run to run this command. Raises OSError."""
    folder.consent.write_text(_digest(command) + "\n", "ascii")


def has_consent(folder: RunFolder, command: str) -> bool:
    """Whether the user confirmed exactly this command for this run."""
    with suppress(OSError, UnicodeDecodeError):
        return folder.consent.read_text("ascii").strip() == _digest(command)
    return False
