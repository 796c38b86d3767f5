"""Saves what was trained: whole or not at all, and never over what is there."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from engine.failures import RunFailed
from engine.model import Loaded
from engine.record import EventWriter
from engine.spec import events as ev
from engine.spec.events import ExportKind
from engine.spec.text import N_, say


def sync(folder: Path) -> int:
    """Have every file below `folder` on disk before its name is; returns their bytes."""
    total = 0
    for path in sorted(folder.rglob("*")):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
            total += os.fstat(handle).st_size if path.is_file() else 0
        finally:
            os.close(handle)
    return total


def _atomically(target: Path, write: Callable[[Path], None], replace: bool = False) -> int:
    """Fill a folder under a temporary name beside `target`, then rename it; returns its bytes."""
    if target.exists() and not replace:
        raise RunFailed(
            "path_exists",
            say(N_("There is something at {path} already, and nothing is overwritten."), path=str(target)),
            say(N_("Give another folder.")),
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.mkdir()
        write(temporary)
        size = sync(temporary)
        if target.exists():
            old = target.with_name(f".{target.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
            temporary.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return size


def save(loaded: Loaded, kind: ExportKind, target: Path, record: EventWriter, *, replace: bool = False) -> Path:
    """Save the adapter or the merged model at `target`. Raises `RunFailed` if something is there, or OSError."""
    started = time.monotonic()

    def write(folder: Path) -> None:
        if kind == "adapter":
            loaded.model.save_pretrained(str(folder))
            loaded.tokenizer.save_pretrained(str(folder))
        elif kind != "merged_16bit":
            raise RunFailed("not_yet", say(N_("Loris cannot save this kind yet.")))
        else:
            loaded.model.save_pretrained_merged(str(folder), loaded.tokenizer, save_method="merged_16bit")

    size = _atomically(target, write, replace)
    record.emit(ev.Exported(kind=kind, path=str(target), total_bytes=size, seconds=time.monotonic() - started))
    return target


def copy(source: Path, kind: ExportKind, target: Path, record: EventWriter) -> None:
    """Copy something saved to a folder of the user's. Raises `RunFailed` if something is there, or OSError."""
    started = time.monotonic()

    def write(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True)

    size = _atomically(target, write)
    record.emit(ev.Exported(kind=kind, path=str(target), total_bytes=size, seconds=time.monotonic() - started))
