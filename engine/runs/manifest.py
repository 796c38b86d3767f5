"""Whether what was saved is whole: a manifest of sizes and hashes, written last, and the looks at it.

A checkpoint or an adapter of an engine that was killed, or whose disk was full, is never taken for a good one:
it has another name until it is complete, and what is complete says of what it consists.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.runs.checksums import sha256

MANIFEST = "loris-manifest.json"
PARTIAL = ".partial-"  # what a folder is called until it is complete


class FileEntry(msgspec.Struct, frozen=True):
    """A file as it was written."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a complete folder holds. `step`, `eval_loss`: of a checkpoint."""

    files: dict[str, FileEntry]
    step: int = 0
    eval_loss: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint."""

    path: Path
    step: int
    eval_loss: float | None


def seal(folder: Path, step: int = 0, eval_loss: float | None = None) -> int:
    """Put every file below `folder` on disk, then its manifest; returns the bytes. Raises OSError."""
    files, total = {}, 0
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST and not path.name.startswith("."):
            sync(path)
            size = path.stat().st_size
            files[str(path.relative_to(folder))] = FileEntry(size, sha256(path))
            total += size
    manifest = folder / MANIFEST
    manifest.write_bytes(msgspec.json.encode(Manifest(files=files, step=step, eval_loss=eval_loss)))
    sync(manifest)
    for path in (*(p for p in folder.rglob("*") if p.is_dir()), folder):
        sync(path)
    return total


def fault(folder: Path, *, hashes: bool = True) -> str:
    """What is wrong with a sealed folder, in a few words for a log; empty when it is whole."""
    manifest = read_manifest(folder)
    if manifest is None:
        return f"{folder}: no readable {MANIFEST}"
    for name, entry in manifest.files.items():
        try:
            if (folder / name).stat().st_size != entry.size:
                return f"{folder / name}: not {entry.size} bytes"
            if hashes and sha256(folder / name) != entry.sha256:
                return f"{folder / name}: not what was written"
        except OSError as error:
            return f"{folder / name}: {error.strerror}"
    return ""


def is_broken(folder: Path, *, hashes: bool = False) -> bool:
    """Whether a folder was sealed and is not what was sealed. One of an older Loris was not, and is believed."""
    return (folder / MANIFEST).exists() and bool(fault(folder, hashes=hashes))


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest, or None when there is none that can be read."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def checkpoints(folder: Path, *, hashes: bool = False) -> list[Checkpoint]:
    """The complete checkpoints in a folder of them, the newest first. Sizes are looked at; `hashes`: bytes too."""
    found = []
    with suppress(OSError):
        for path in folder.glob("checkpoint-*"):
            manifest = read_manifest(path)
            if manifest and not fault(path, hashes=hashes):
                found.append(Checkpoint(path, manifest.step, manifest.eval_loss))
    return sorted(found, key=lambda one: one.step, reverse=True)


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose every byte is as it was written."""
    return next((one for one in checkpoints(folder) if not fault(one.path)), None)


def best(found: list[Checkpoint]) -> Checkpoint | None:
    """The one with the lowest loss on the held-out rows; of equals the newest."""
    measured = [one for one in found if one.eval_loss is not None]
    return min(measured, key=lambda one: (one.eval_loss, -one.step)) if measured else None


def excess(found: list[Checkpoint], limit: int) -> list[Checkpoint]:
    """Which of the complete checkpoints to delete to keep `limit`: never the newest, nor the best of several."""
    if limit < 2:
        return found[1:]
    keep = {one.step for one in found[:1]}
    if winner := best(found):
        keep.add(winner.step)
    for one in found:
        if len(keep) < limit:
            keep.add(one.step)
    return [one for one in found if one.step not in keep]


def remove(path: Path) -> None:
    """Delete a checkpoint. Raises OSError. Another name first: a kill half way leaves none that looks whole."""
    doomed = path.with_name(PARTIAL + path.name)
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


def remove_leftovers(*folders: Path) -> None:
    """Delete what engines that were killed did not complete. Only while holding the run's lock."""
    for folder in folders:
        for path in folder.glob(f"{PARTIAL}*"):
            shutil.rmtree(path, ignore_errors=True)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
