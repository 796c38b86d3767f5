"""Whether a checkpoint, an adapter or a model is complete: a manifest of sizes and hashes, written last, and its
checks.

What a killed engine or a full disk left incomplete is never used: it has another name until it is complete, and a
complete folder lists its files in the manifest.
"""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.config.files import read_bytes
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.runs.checksums import CHECKSUMS, FORMAT_FILE, adapter_digest, damaged_files, sha256, write_checksums

MANIFEST = "loris-manifest.json"
MAX_BYTES = 16 << 20  # of a manifest
PARTIAL = ".partial-"  # prefix of a folder's name until it is complete


class FileEntry(msgspec.Struct, frozen=True):
    """The size in bytes and the hash of a file as it was written."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a complete folder. `step`, `eval_loss`: of a checkpoint."""

    files: dict[str, FileEntry]
    step: int = 0
    eval_loss: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint."""

    path: Path
    step: int
    eval_loss: float | None


def write_manifest(folder: Path, step: int = 0, eval_loss: float | None = None) -> int:
    """Sync every file below `folder` to disk, then write its manifest; returns the bytes. Raises OSError."""
    return _write(folder, {}, step, eval_loss)


def seal_export(folder: Path, tick: Callable[[str, int, int], None] = lambda *_: None) -> None:
    """Write the checksums and the manifest of an export. `tick`: see `write_checksums`. Raises OSError."""
    (folder / MANIFEST).unlink(missing_ok=True)  # of what it was copied from
    _write(folder, write_checksums(folder, tick))


def _write(folder: Path, hashes: Mapping[str, str], step: int = 0, eval_loss: float | None = None) -> int:
    """`hashes`: those that are known already."""
    files, total = {}, 0
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST and not path.name.startswith("."):
            fsync(path)
            size = path.stat().st_size
            name = str(path.relative_to(folder))
            files[name] = FileEntry(size, hashes.get(name) or sha256(path))
            total += size
    manifest = folder / MANIFEST
    manifest.write_bytes(msgspec.json.encode(Manifest(files=files, step=step, eval_loss=eval_loss)))
    fsync(manifest)
    for path in (*(p for p in folder.rglob("*") if p.is_dir()), folder):
        fsync(path)
    return total


def find_fault(folder: Path, *, hashes: bool = True) -> str:
    """What is wrong with a folder that has a manifest, for the log; empty when it is complete.

    Its Markdown, such as the model card, is for people to edit.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return f"{folder}: no readable {MANIFEST}"
    for name, entry in manifest.files.items():
        if name.endswith(".md"):
            continue
        try:
            if (folder / name).stat().st_size != entry.size:
                return f"{folder / name}: not {entry.size} bytes"
            if hashes and sha256(folder / name) != entry.sha256:
                return f"{folder / name}: not what was written"
        except OSError as error:
            return f"{folder / name}: {error.strerror}"
    return ""


def is_damaged(folder: Path, *, hashes: bool = False) -> bool:
    """Whether a folder differs from its manifest. A folder of an older Loris has none, and is trusted."""
    return (folder / MANIFEST).exists() and bool(find_fault(folder, hashes=hashes))


def require_intact(folder: Path, hint: Message | None = None) -> None:
    """Raises `UserError` if a folder to load differs in any byte from what Loris saved there. Others are trusted.

    `hint`: what to do; by default, for a folder that may be a copy.
    """
    fault = find_fault(folder) if (folder / MANIFEST).exists() else _export_fault(folder)
    if not fault:
        return
    sys.stderr.write(fault + "\n")
    raise UserError(
        "adapter_broken" if (folder / "adapter_config.json").exists() else "model_broken",
        say("{path} differs from what was saved there: the disk may be faulty, or a file was changed.",
            path=str(folder)),
        hint or say("Copy or export it again. If you changed it yourself, delete {files} in it.",
                    files=", ".join((MANIFEST, CHECKSUMS))),
    )  # fmt: skip


def _export_fault(folder: Path) -> str:
    """What differs from the checksums of an export, for the log. Not its texts, which are for people to edit."""
    if not (folder / FORMAT_FILE).is_file():
        return ""
    changed = [name for name in damaged_files(folder) if not name.endswith(".md")]
    return f"{folder}: not what was written: {', '.join(changed)}" if changed else ""


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest, or None when there is no readable one."""
    path = folder / MANIFEST
    try:
        return msgspec.json.decode(read_bytes(path, MAX_BYTES), type=Manifest)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def result_digest(folder: Path) -> str:
    """A hash that changes with the weights of a run's result; empty when there are none.

    A whole model is not read again for it: the hash is that of its manifest, which lists those of its files.
    """
    if (folder / "adapter_config.json").exists():
        return adapter_digest(folder)
    with suppress(OSError):
        return sha256(folder / MANIFEST)
    return ""


def list_checkpoints(folder: Path, *, hashes: bool = False) -> list[Checkpoint]:
    """The complete checkpoints in a folder, the newest first. Checks the sizes; `hashes`: also every byte."""
    found = []
    with suppress(OSError):
        for path in folder.glob("checkpoint-*"):
            manifest = read_manifest(path)
            if manifest and not find_fault(path, hashes=hashes):
                found.append(Checkpoint(path, manifest.step, manifest.eval_loss))
    return sorted(found, key=lambda one: one.step, reverse=True)


class _TrainerState(msgspec.Struct):
    """What is read of the trainer's own record in a checkpoint."""

    epoch: float | None = None


def epochs_at(folder: Path, step: int) -> float:
    """How often training had gone through its rows at a checkpoint, which may be a fraction; 0 if not known."""
    try:
        text = (folder / f"checkpoint-{step}" / "trainer_state.json").read_bytes()
        return msgspec.json.decode(text, type=_TrainerState).epoch or 0.0
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return 0.0


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is complete in every byte."""
    return next((one for one in list_checkpoints(folder) if not find_fault(one.path)), None)


def best_checkpoint(found: list[Checkpoint]) -> Checkpoint | None:
    """The checkpoint with the lowest eval loss; of equals the newest."""
    measured = [one for one in found if one.eval_loss is not None]
    return min(measured, key=lambda one: (one.eval_loss, -one.step)) if measured else None


def checkpoints_to_delete(found: list[Checkpoint], limit: int) -> list[Checkpoint]:
    """Which of the complete checkpoints to delete to keep `limit`: never the newest, nor the best of several."""
    if limit < 2:
        return found[1:]
    keep = {one.step for one in found[:1]}
    if winner := best_checkpoint(found):
        keep.add(winner.step)
    for one in found:
        if len(keep) < limit:
            keep.add(one.step)
    return [one for one in found if one.step not in keep]


def fsync(path: Path) -> None:
    """Sync a file, or a folder's entries, to disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
