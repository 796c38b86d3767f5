"""Whether a run can be resumed: one answer for the list, the live screen and the command line."""

from engine.protocol.state import RunState
from engine.runs import manifest
from engine.runs.folder import RunFolder


def stopped_early(state: RunState) -> bool:
    """Whether training was stopped before its last step."""
    return state.finished is not None and state.finished.outcome == "stopped"


def is_trained(folder: RunFolder, state: RunState) -> bool:
    """Whether a complete result was saved; one that is damaged, as by a disk fault, does not count."""
    return (state.trained or folder.result.is_dir()) and not manifest.is_damaged(folder.result)


def is_resumable(state: RunState, trained: bool, checkpoint: int | None) -> bool:
    """Whether training can be resumed, once the engine has exited.

    It can when no result is complete (not `trained`), when training continued after the result was saved, or when
    it was stopped and there is a checkpoint to resume from (`checkpoint`: the step of the newest).
    """
    return not trained or state.unsaved or (stopped_early(state) and checkpoint is not None)
