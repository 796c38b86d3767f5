"""The questions on the way to a stop: each rung of the ladder says what it costs."""

from __future__ import annotations

from engine.protocol.state import RunState
from engine.runs.lock_owner import TERMINATE_SECONDS
from tui.dialogs.run import AskModal
from tui.text.translation import _


def stop_question(rung: int, state: RunState, frozen: bool = False) -> AskModal:
    """`rung`: 0 stop and save, 1 at once, 2 by force."""
    if rung == 2:
        why = (
            _("Its process is held up by a signal (kill -STOP) and cannot save anything.")
            if frozen
            else _("It was asked twice and is still there.")
        )
        cost = _(
            "It has {seconds} s to save a checkpoint, then it is killed. Complete checkpoints stay; steps after "
            "the last one are lost."
        ).format(seconds=f"{TERMINATE_SECONDS:g}")
        return AskModal(_("End the engine by force?"), f"{why} {cost}", yes=_("End it by force"), no=_("Leave it"))
    if rung == 1:
        words = _(
            "It was asked to stop and has not yet: it may be saving. Ended at once it keeps complete checkpoints, "
            "but what it is saving now is lost."
        )
        return AskModal(_("End it at once?"), words, yes=_("End it at once"), no=_("Wait"))
    if state.stage in ("starting", "loading", "preparing"):
        words = _("Training has not begun: the engine ends at once. What was downloaded is kept.")
        return AskModal(_("Stop the run?"), words, yes=_("Stop"), no=_("Go on"))
    if state.stage in ("saving", "exporting"):
        words = _("What it is saving now is given up; what was saved before stays.")
        return AskModal(_("Stop saving?"), words, yes=_("Stop"), no=_("Go on saving"))
    done = (
        _("{step} of {total} steps are done. ").format(step=state.step.step, total=state.training.total_steps)
        if state.step and state.training
        else ""
    )
    words = _(
        "Training ends after the step in progress, and what was learned so far is saved as an adapter. You can "
        "then chat with it and save it."
    )
    return AskModal(
        _("Stop training and keep the model?"), done + words, yes=_("Stop and keep"), no=_("Go on training")
    )
