"""Whether a run can be resumed: one answer for the list, the live screen and the command line."""

from __future__ import annotations

from engine.protocol.state import RunState
from engine.runs import manifest
from engine.runs.folder import RunFolder


def stopped_early(state: RunState) -> bool:
    """Whether training ended before its last step because it was told to."""
    return state.finished is not None and state.finished.outcome == "stopped"


def is_trained(folder: RunFolder, state: RunState) -> bool:
    """Whether a whole adapter was saved: one that is not what was saved, as after a fault of the disk, is none."""
    return (state.trained or folder.adapter.is_dir()) and not manifest.is_broken(folder.adapter)


def resumable(state: RunState, trained: bool, checkpoint: int | None) -> bool:
    """Whether there is training to go on with, once the engine is gone.

    The events decide, and what is whole on disk. There is when no adapter is (`trained`), when training went on
    after it was saved, and when it was stopped with a checkpoint (the step of the newest) to go on from.
    """
    return not trained or state.unsaved or (stopped_early(state) and checkpoint is not None)
