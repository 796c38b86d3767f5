"""The consent to what runs on this machine besides the training: a command after a run, a file of reward functions.

To a command: given once, for one run folder and its exact text. To a file: for its exact content, wherever it is.
A preset from someone else may contain either: opening the preset must not run it. Consents are therefore kept among
the user's own files: a run folder may come from someone else too.
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


def allow_rewards(content: bytes) -> None:
    """Allow a file of reward functions with this content to run. Raises OSError."""
    path = _rewards_path(content)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_text(path, "")


def are_rewards_allowed(content: bytes) -> bool:
    """Whether the user confirmed exactly this content."""
    return _rewards_path(content).is_file()


def _rewards_path(content: bytes) -> Path:
    return home()[0] / "consents" / f"rewards-{hashlib.sha256(content).hexdigest()}"


def _path(folder: RunFolder) -> Path:
    return home()[0] / "consents" / hashlib.sha256(_real_path(folder)).hexdigest()


def _digest(folder: RunFolder, command: str) -> str:
    return hashlib.sha256(_real_path(folder) + b"\0" + command.encode("utf-8", "surrogateescape")).hexdigest()


def _real_path(folder: RunFolder) -> bytes:
    return os.fsencode(os.path.realpath(folder.path))
