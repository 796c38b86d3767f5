"""Whether a folder is writable and has enough free disk space. It need not exist yet."""

import os
import shutil
import tempfile
from pathlib import Path

from engine.messages.message import Message, say


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next((p for p in (path, *path.parents) if os.path.lexists(p)), Path("/"))


def write_problem(folder: Path) -> Message | None:
    """Why a folder, which need not exist yet, is not writable; None when it is."""
    parent = _existing(folder)
    if not parent.is_dir():
        return say("{path} is a file, not a folder.", path=str(parent))
    try:
        # Trying is the only test: permission bits do not show read-only mounts, quotas and full disks.
        with tempfile.TemporaryDirectory(dir=parent, prefix=".loris-"):
            return None
    except OSError as error:
        reason = error.strerror or str(error)
        return say("Nothing can be written in {folder}: {reason}.", folder=str(parent), reason=reason)


def space_problem(folder: Path, needed: int) -> Message | None:
    """Why `needed` bytes do not fit on a folder's disk; None when they do."""
    free = shutil.disk_usage(_existing(folder)).free
    if needed <= free:
        return None
    return say(
        "It needs about {needed} GB, and the disk of {folder} has {free} GB free.",
        needed=round(needed / 1e9, 1), free=round(free / 1e9, 1), folder=str(folder),
    )  # fmt: skip
