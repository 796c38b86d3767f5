"""Copies an export to a folder of the user's, such as a mounted drive, and compares every byte."""

import shutil
from collections.abc import Callable
from pathlib import Path

from engine.export.atomic_folder import atomic_folder
from engine.export.cancellation import cancellable
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.runs import manifest
from engine.runs.checksums import CHECKSUMS, damaged_files, write_checksums


def copy_export(source: Path, target: Path, replace: bool, cancelled: Callable[[], bool]) -> None:
    """Raises `UserError`, also when the copy differs from the original; `Cancelled`; OSError."""
    with atomic_folder(target, replace=replace) as folder, cancellable(cancelled):
        shutil.copytree(source, folder, dirs_exist_ok=True)
        if damaged_files(folder) or manifest.is_damaged(folder, hashes=True):
            message = say(
                "The copy in {folder} differs from the original: the disk may be faulty.", folder=str(target)
            )
            raise UserError("copy_damaged", message)
        if not (folder / CHECKSUMS).exists():
            write_checksums(folder, lambda *_: None)
