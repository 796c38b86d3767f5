"""Where an export goes, how large it is, and whether it fits. Looks at disks: call it in a thread."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from engine.preflight.check import unwritable
from engine.spec.events import ExportKind
from engine.spec.folder import RunFolder
from engine.spec.state import RunState
from engine.spec.text import N_, Message, say


@dataclass(frozen=True)
class Plan:
    """What saving would do. `needed_bytes` 0: not known. `error` is None when it can be done."""

    target: Path
    needed_bytes: int
    free_bytes: int
    error: Message | None = None


def needed(kind: ExportKind, state: RunState) -> int:
    """About how many bytes it takes: the adapter's own size, or two bytes a parameter."""
    if kind == "merged_16bit":
        return 2 * state.model.parameters if state.model else 0
    return next((e.total_bytes for e in reversed(state.exports) if e.kind == "adapter"), 0)


def plan(kind: ExportKind, typed: str, folder: RunFolder, state: RunState) -> Plan:
    """Where `typed` leads, as the engine takes it: into a folder that is there, under the run's name and kind."""
    typed = typed.strip()
    target = Path(os.path.abspath(os.path.expanduser(typed))) if typed else folder.exports / kind
    if typed and target.is_dir():
        target = target / folder.name / kind
    size = needed(kind, state)
    place = next((p for p in (target, *target.parents) if p.exists()), Path("/"))
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        free = 0
    return Plan(target, size, free, _wrong(target, size, free))


def _wrong(target: Path, size: int, free: int) -> Message | None:
    if os.path.lexists(target):
        return say(
            N_("There is something at {path} already, and nothing is overwritten: give another folder."),
            path=str(target),
        )
    if message := unwritable(target.parent):
        return message
    if size > free:
        return say(
            N_("It takes about {needed} GB, and this disk has {free} GB free."),
            needed=round(size / 1024**3, 1), free=round(free / 1024**3, 1),
        )  # fmt: skip
    return None
