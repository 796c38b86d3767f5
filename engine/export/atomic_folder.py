"""A folder that appears complete or not at all: written under a temporary name, checked, then renamed."""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.export.plan import path_taken
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.runs.checksums import FILLING_LOCK
from engine.runs.file_modes import set_usual_modes
from engine.runs.lock_file import acquire_lock
from engine.runs.manifest import fsync


def refuse_existing(target: Path, replace: bool) -> None:
    """Raises `UserError` when the target exists and `replace` is not set."""
    if os.path.lexists(target) and not replace:
        raise UserError("path_exists", path_taken(target), None, "path")
    if replace and (target.is_symlink() or target.is_file()):
        raise UserError("path_exists", say("{path} is a file, not a folder.", path=str(target)), None, "path")


@contextmanager
def atomic_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder next to `target`: renamed to it when the block succeeds, removed when it fails.

    Raises `UserError` when `target` already exists, or OSError.
    """
    refuse_existing(target, replace)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    handle = -1
    try:
        temporary.mkdir()
        handle = acquire_lock(temporary / FILLING_LOCK)
        yield temporary
        (temporary / FILLING_LOCK).unlink()
        set_usual_modes(temporary)
        for path in sorted(temporary.rglob("*")):
            fsync(path)  # on disk before the rename
        _rename_into_place(temporary, target, replace)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        if handle >= 0:
            os.close(handle)


def _rename_into_place(temporary: Path, target: Path, replace: bool) -> None:
    if not target.exists():
        temporary.rename(target)
        return
    refuse_existing(target, replace)  # it may have been created meanwhile
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    temporary.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def remove_stale(parent: Path) -> list[Path]:
    """Remove the incomplete exports that killed engines left in a folder; returns what was removed."""
    removed = []
    with suppress(OSError):
        for path in parent.iterdir():
            if not re.fullmatch(r"\..+\.[0-9a-f]{8}", path.name) or not (path / FILLING_LOCK).is_file():
                continue
            try:
                handle = acquire_lock(path / FILLING_LOCK)
            except OSError:
                continue  # another engine is writing it
            os.close(handle)
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
    return removed
