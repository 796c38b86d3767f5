"""The consent to a command after a run: given once, for one run, to the very words of the command.

A preset of a colleague's may name a command; nothing of it is carried out because a preset was opened.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

from engine.runs.folder import RunFolder


def _digest(command: str) -> str:
    return hashlib.sha256(command.encode()).hexdigest()


def give_consent(folder: RunFolder, command: str) -> None:
    """Let this run carry this command out. Raises OSError."""
    folder.confirmed.write_text(_digest(command) + "\n", "ascii")


def has_consent(folder: RunFolder, command: str) -> bool:
    """Whether someone confirmed just this command for this run."""
    with suppress(OSError, UnicodeDecodeError):
        return folder.confirmed.read_text("ascii").strip() == _digest(command)
    return False
