"""The consent to a command after a run: given once, for one run folder and for the exact text of the command.

A preset from someone else may contain a command: opening the preset must not run it. Consents are therefore kept
among the user's own files: a run folder may come from someone else too.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from engine.config.files import read_text, write_text
from engine.config.paths import home
from engine.runs.folder import RunFolder


def give_consent(folder: RunFolder, command: str) -> None:
    """Allow the run in this folder to run this command. Raises OSError."""
    path = _path(folder)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_text(path, _digest(folder, command))


def has_consent(folder: RunFolder, command: str) -> bool:
    """Whether the user confirmed exactly this command for the run in exactly this folder."""
    return read_text(_path(folder)) == _digest(folder, command)


def withdraw_consent(folder: RunFolder) -> None:
    """Forget the consent: another run may be in a folder of this name later."""
    with suppress(OSError):
        _path(folder).unlink(missing_ok=True)


def _path(folder: RunFolder) -> Path:
    return home()[0] / "consents" / hashlib.sha256(_real_path(folder)).hexdigest()


def _digest(folder: RunFolder, command: str) -> str:
    return hashlib.sha256(_real_path(folder) + b"\0" + command.encode("utf-8", "surrogateescape")).hexdigest()


def _real_path(folder: RunFolder) -> bytes:
    return os.fsencode(os.path.realpath(folder.path))
