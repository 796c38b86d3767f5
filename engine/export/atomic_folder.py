"""A folder that appears complete or not at all: written under a temporary name, checked, then renamed."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.config.files import set_aside
from engine.export.plan import target_problem
from engine.messages.errors import UserError
from engine.runs.checksums import FILLING_LOCK
from engine.runs.file_modes import set_usual_modes
from engine.runs.manifest import fsync
from engine.runs.own_files import is_own_folder, mark_as_filling, replace_folder


def refuse_existing(target: Path, replace: bool) -> None:
    """Raises `UserError` when the target exists and is not to be replaced, or is not Loris's."""
    if message := target_problem(target, replace):
        raise UserError("path_exists", message, None, "path")


@contextmanager
def atomic_folder(
    target: Path,
    *,
    replace: bool = False,
    aside: bool = False,
    on_kept: Callable[[list[Path]], None] = lambda _: None,
) -> Iterator[Path]:
    """A temporary folder next to `target`: renamed to it when the block succeeds, removed when it fails.

    `replace`: what Loris made at `target` earlier is replaced. What the user put there is kept, and `on_kept`
    receives where it is now. `aside`: what is not Loris's at all is renamed, instead of refused.
    Raises `UserError` when `target` exists and may not be replaced, or OSError.
    """
    if not aside:
        refuse_existing(target, replace)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    handle = -1
    try:
        handle = mark_as_filling(temporary)
        yield temporary
        set_usual_modes(temporary)
        for path in sorted(temporary.rglob("*")):
            fsync(path)  # on disk before the rename
        kept = _rename_into_place(temporary, target, replace, aside)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        if handle >= 0:
            os.close(handle)
    (target / FILLING_LOCK).unlink(missing_ok=True)  # last: without it, nobody would recognise what a kill leaves
    if kept:
        on_kept(kept)


def _rename_into_place(temporary: Path, target: Path, replace: bool, aside: bool) -> list[Path]:
    """Returns what was kept of the user's."""
    if not aside:
        refuse_existing(target, replace)  # it may have been created meanwhile
    if is_own_folder(target):
        return replace_folder(temporary, target)
    kept = [set_aside(target)] if aside and os.path.lexists(target) else []
    temporary.rename(target)
    return kept
