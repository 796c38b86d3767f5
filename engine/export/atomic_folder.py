"""A folder that appears whole or not at all: filled under a temporary name, checked, then renamed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.export.plan import CHECKSUMS, taken
from engine.messages.message import N_, say
from engine.runs.lock_file import hold
from engine.runtime.failures import RunFailed

_LOCK = ".loris-lock"  # held while the folder is being filled, so that one left by a killed engine is told apart
_CHUNK = 1 << 20


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


def size_of(folder: Path) -> int:
    """The bytes of the files below a folder that may be changing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def refuse_existing(target: Path, replace: bool) -> None:
    """Raises `RunFailed` when something is at the target and nobody said that it may be replaced."""
    if os.path.lexists(target) and not replace:
        raise RunFailed("path_exists", taken(target), None, "path")
    if replace and (target.is_symlink() or target.is_file()):
        raise RunFailed("path_exists", say(N_("{path} is a file, not a folder."), path=str(target)), None, "path")


@contextmanager
def filling(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside `target`, which gets its name when the block ends well and is removed if not.

    Raises `RunFailed` when something is at `target` already, or OSError.
    """
    refuse_existing(target, replace)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    handle = -1
    try:
        temporary.mkdir()
        handle = hold(temporary / _LOCK)
        yield temporary
        (temporary / _LOCK).unlink()
        sync(temporary)
        _take_place(temporary, target, replace)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        if handle >= 0:
            os.close(handle)


def _take_place(temporary: Path, target: Path, replace: bool) -> None:
    if not target.exists():
        temporary.rename(target)
        return
    refuse_existing(target, replace)  # it may have come meanwhile
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    temporary.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def remove_stale(parent: Path) -> list[Path]:
    """Remove what engines that were killed left half-made in a folder; returns what was removed."""
    removed = []
    with suppress(OSError):
        for path in parent.iterdir():
            if not re.fullmatch(r"\..+\.[0-9a-f]{8}", path.name) or not (path / _LOCK).is_file():
                continue
            try:
                handle = hold(path / _LOCK)
            except OSError:
                continue  # another engine is at work in it
            os.close(handle)
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
    return removed


def write_checksums(folder: Path, tick: Callable[[str, int, int], None]) -> None:
    """Write the SHA-256 of every file. `tick` gets the file's name, and bytes done and in all."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (_LOCK, CHECKSUMS))
    total, done, lines = sum(path.stat().st_size for path in files), 0, []
    for path in files:
        digest = hashlib.sha256()
        name = path.relative_to(folder).as_posix()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                done += len(chunk)
                tick(name, done, total)
        lines.append(f"{digest.hexdigest()}  {name}\n")
    (folder / CHECKSUMS).write_text("".join(lines), "utf-8")


def adapter_digest(folder: Path) -> str:
    """The SHA-256 of an adapter's weights; empty when there are none."""
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        with suppress(OSError), (folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return ""
