"""What Loris made in a folder, file by file, as its manifest lists it: nothing else is replaced or removed.

A user may type a folder of their own, add files to an export, or edit one: all of that stays.
"""

import os
import re
import shutil
import stat
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from engine.config.files import free_name, read_text
from engine.protocol.state import read_state
from engine.runs.checksums import CHECKSUMS, FILLING_LOCK, read_checksums, sha256
from engine.runs.folder import RunFolder
from engine.runs.lock_file import acquire_lock
from engine.runs.manifest import MANIFEST, PARTIAL, FileEntry, read_manifest

HASHED_BYTES = 64 << 20  # larger files are weights, which nobody edits by hand: their size is enough
# What the libraries leave in the working directory, which is the run's folder.
LIBRARY_FOLDERS = ("unsloth_compiled_cache", "_unsloth_sentencepiece_temp", "_unsloth_temporary_saved_buffers")
_CHAT = re.compile(r"\d{4}-\d\d-\d\d-\d{6}\.jsonl")
_REPLACED = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.old")  # a folder while another takes its place
_FILLING = re.compile(r"\..+\.[0-9a-f]{8}")  # a folder while it is written


def is_own_folder(folder: Path) -> bool:
    """Whether Loris made this folder: a folder, not a link to one, that lists its files."""
    return _is_folder(folder) and _listed(folder) is not None


def is_export(folder: Path) -> bool:
    """Whether Loris made this folder as an export: not a run's adapter, nor a checkpoint."""
    listed = _listed(folder) if _is_folder(folder) else None
    return listed is not None and (CHECKSUMS in listed or not (folder / MANIFEST).exists())


def own_files(folder: Path) -> set[Path]:
    """The files below `folder` that are as Loris wrote them, and its manifest. Never looks through a link."""
    listed = _listed(folder) if _is_folder(folder) else None
    found: set[Path] = set()
    if listed is None:
        return found
    marks = (MANIFEST if (folder / MANIFEST).exists() else CHECKSUMS, FILLING_LOCK)
    for path in _files_below(folder):
        name = path.relative_to(folder).as_posix()
        if name in marks or ((entry := listed.get(name)) and _is_unchanged(path, entry)):
            found.add(path)
    return found


def remove_own(folder: Path) -> bool:
    """Remove the files that Loris made, and the folders that are empty then; returns whether nothing is left."""
    return remove_files(folder, own_files(folder))


def remove_files(folder: Path, files: Collection[Path]) -> bool:
    """Remove these files below `folder`, the manifest last; then empty folders, and `folder` itself if possible.

    Returns whether nothing is left. What cannot be removed stays.
    """
    for path in sorted(files, key=lambda path: path.name == MANIFEST):
        with suppress(OSError):
            path.unlink()
    emptied = {parent for path in files for parent in path.parents if folder in (parent, *parent.parents)}
    for parent in sorted(emptied | {folder}, key=lambda path: len(path.parts), reverse=True):
        with suppress(OSError):
            parent.rmdir()
    return not os.path.lexists(folder)


def replace_folder(new: Path, target: Path) -> list[Path]:
    """Put `new` in the place of `target`, a folder of Loris's in the same folder. Raises OSError.

    What the user had in `target` is moved into the new one: returns where it is now.
    """
    old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    return _finish_replacing(old, target)


def finish_interrupted(parent: Path) -> None:
    """Finish the replacements in a folder that killed engines left half done."""
    for path in _entries(parent):
        if (found := _REPLACED.fullmatch(path.name)) and is_own_folder(path):
            restore_or_finish(path, parent / found["name"])


def restore_or_finish(old: Path, target: Path) -> None:
    """Bring back a folder whose successor is not there; else finish replacing it."""
    with suppress(OSError):
        if not os.path.lexists(target):
            old.rename(target)
        elif is_own_folder(target) and is_own_folder(old):
            _finish_replacing(old, target)


def mark_as_filling(folder: Path) -> int:
    """Lock a folder that is being written. Returns the lock's handle; raises OSError.

    The lock contains the folder's name: a copy, or a folder that the user renamed, is not taken for it.
    """
    handle = acquire_lock(folder / FILLING_LOCK)
    os.ftruncate(handle, 0)
    os.write(handle, os.fsencode(folder.name))
    return handle


def remove_stale(parent: Path) -> list[Path]:
    """Remove the incomplete folders that killed engines left in a folder; returns what was removed."""
    finish_interrupted(parent)
    removed = []
    for path in _entries(parent):
        if not _FILLING.fullmatch(path.name) or not _is_folder(path):
            continue
        if read_text(path / FILLING_LOCK) != path.name:
            continue
        try:
            handle = acquire_lock(path / FILLING_LOCK)
        except OSError:
            continue  # another engine is writing it
        os.close(handle)
        shutil.rmtree(path, ignore_errors=True)
        removed.append(path)
    return removed


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint; what the user put there stays. Raises OSError.

    Renames it first: a kill half way leaves nothing that looks complete.
    """
    doomed = path.with_name(PARTIAL + path.name)
    if os.path.lexists(doomed):
        remove_own(doomed)
    path.rename(doomed)
    if not remove_own(doomed):
        doomed.rename(path)


def remove_leftovers(*folders: Path) -> None:
    """Delete the incomplete checkpoints of killed engines. Only while holding the run's lock."""
    for folder in folders:
        for path in folder.glob(f"{PARTIAL}*"):
            name = path.name.removeprefix(PARTIAL)
            if name.isdigit():  # was being written
                shutil.rmtree(path, ignore_errors=True)
            elif not remove_own(path) and not os.path.lexists(folder / name):  # was being deleted
                path.rename(folder / name)


def remove_run_files(run: RunFolder) -> None:
    """Remove what Loris made in a run's folder; what is left is the user's. Needs the run's lock."""
    remove_leftovers(run.checkpoints)
    for parent in (run.path, run.exports):
        remove_stale(parent)
    for name in LIBRARY_FOLDERS:
        shutil.rmtree(run.path / name, ignore_errors=True)  # not through a link
    for parent in (run.checkpoints, run.exports):
        for path in _entries(parent) if _is_folder(parent) else ():
            remove_own(path)
    remove_own(run.adapter)
    remove_own(run.model)
    remove_own(run.start_adapter)
    chats = {path for path in _files_below(run.chats) if _CHAT.fullmatch(path.name)}
    remove_files(run.chats, chats)
    for folder in (run.checkpoints, run.exports):
        remove_files(folder, ())
    remove_files(run.path, run.own_files)


def copy_own(source: Path, target: Path, leave_out: tuple[str, ...] = ()) -> None:
    """Copy the files that the manifest of `source` lists, but not those whose names match. Raises OSError.

    Without what the user put there: the copy's manifest would claim it. Without a manifest, all files are copied.
    """
    listed: Collection[str] | None = _listed(source)
    if listed is None:
        listed = [str(path.relative_to(source)) for path in _files_below(source)]
    for name in listed:
        if not any(fnmatch(Path(name).name, pattern) for pattern in leave_out):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


def _listed(folder: Path) -> Mapping[str, FileEntry] | None:
    """The files that the manifest lists; None for a folder that is not Loris's.

    Older versions wrote no manifest into an export: of those in their own run's folder, the checksums.
    """
    if manifest := read_manifest(folder):
        return manifest.files
    run = RunFolder(folder.parent.parent)
    if folder.parent != run.exports or not (folder / CHECKSUMS).is_file():
        return None
    made = {os.path.realpath(export.path) for export in read_state(run.events).exports}
    if os.path.realpath(folder) not in made:
        return None
    return {name: FileEntry(-1, digest) for name, digest in read_checksums(folder).items()}


def _is_unchanged(path: Path, entry: FileEntry) -> bool:
    with suppress(OSError):
        size = path.stat().st_size
        return entry.size in (size, -1) and (size > HASHED_BYTES or sha256(path) == entry.sha256)
    return False


def _finish_replacing(old: Path, target: Path) -> list[Path]:
    own = own_files(old)
    kept = list(_move_rest(old, target, own))
    remove_files(old, own)
    return kept


def _move_rest(old: Path, new: Path, own: Collection[Path]) -> Iterator[Path]:
    """Move everything but `own` from one folder into another; yields the new paths."""
    for path in sorted(set(_entries(old)) - set(own)):
        there = new / path.name
        if _is_folder(path) and (_is_folder(there) or any(path in file.parents for file in own)):
            if not _is_folder(there):
                there = free_name(there)
                there.mkdir()
            yield from _move_rest(path, there, own)
            for empty in (path, there):
                with suppress(OSError):
                    empty.rmdir()
        else:
            yield path.rename(free_name(there))


def _files_below(folder: Path) -> Iterator[Path]:
    """The regular files below a folder, none of them reached through a link."""
    for parent, _folders, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with suppress(OSError):
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path


def _entries(folder: Path) -> list[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return []


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
