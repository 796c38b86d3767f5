"""How much disk a run uses, and which of its checkpoints can be deleted."""

import os
from contextlib import suppress
from pathlib import Path

from engine.runs import manifest
from engine.runs.folder import RunFolder
from engine.runs.own_files import remove_checkpoint
from engine.runs.run_list import locked


def size_of(path: Path) -> int:
    """Bytes of everything below `path`; what cannot be read counts as 0. Links are not followed."""
    total = 0
    for parent, _folders, files in os.walk(path):
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def prunable(folder: RunFolder) -> tuple[list[Path], int]:
    """(the checkpoints that are neither the newest nor the best, their bytes)."""
    found = manifest.list_checkpoints(folder.checkpoints)
    keep = {one.path for one in (*found[:1], manifest.best_checkpoint(found)) if one}
    old = [one.path for one in found if one.path not in keep]
    return old, sum(map(size_of, old))


def prune(folder: RunFolder) -> int:
    """Delete the prunable checkpoints; returns the bytes freed. Raises `UserError` while an engine runs."""
    with locked(folder):
        old, freed = prunable(folder)
        for path in old:
            remove_checkpoint(path)
    return freed
