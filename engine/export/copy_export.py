"""Copies an export to a folder of the user's, such as a mounted drive, and compares every byte."""

import shutil
from collections.abc import Callable
from pathlib import Path

from engine.export.atomic_folder import atomic_folder
from engine.export.cancellation import cancellable
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.runs import manifest
from engine.runs.checksums import damaged_files
from engine.runs.own_files import copy_own, is_own_folder


def copy_export(
    source: Path,
    target: Path,
    replace: bool,
    cancelled: Callable[[], bool],
    on_kept: Callable[[list[Path]], None],
) -> None:
    """`on_kept`: see `atomic_folder`.

    Raises `UserError`, also when the copy differs from the original; `Cancelled`; OSError.
    """
    with atomic_folder(target, replace=replace, on_kept=on_kept) as folder, cancellable(cancelled):
        if is_own_folder(source):
            copy_own(source, folder)
        else:  # of an older Loris, without a manifest
            shutil.copytree(source, folder, dirs_exist_ok=True)
        if (source / manifest.MANIFEST).exists():
            shutil.copy2(source / manifest.MANIFEST, folder)
        if damaged_files(folder) or manifest.is_damaged(folder, hashes=True):
            message = say(
                "The copy in {folder} differs from the original: the disk may be faulty.", folder=str(target)
            )
            raise UserError("copy_damaged", message)
        manifest.seal_export(folder)
