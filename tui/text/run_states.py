"""The words for what a run is, and for what one waits for."""

from __future__ import annotations

from engine.protocol.events import Stage
from engine.runs.exit_cause import LostCode
from tui.text.translation import N_, _

STATES = {
    "starting": N_("starting"),
    "loading": N_("loading"),
    "ready": N_("ready"),
    "preparing": N_("preparing"),
    "training": N_("training"),
    "saving": N_("saving"),
    "serving": N_("trained, ready to chat"),
    "exporting": N_("exporting"),
    "completed": N_("completed"),
    "stopped": N_("stopped early"),
    "failed": N_("failed"),
    "interrupted": N_("interrupted"),
}

# What became of the engine of an interrupted run.
LOST: dict[LostCode, str] = {
    "killed": N_("killed"),
    "rebooted": N_("machine restarted"),
    "other_machine": N_("on another machine"),
    "terminated": N_("told to end"),
}

# What is said until the engine answers.
WAITING = {
    "starting": N_("the engine is starting: importing Unsloth takes 10 to 30 seconds"),
    "loading": N_("the model is loading"),
}


def waiting_words(stage: Stage, doing: str) -> str:
    """`doing`: the line that the engine is writing, safe to show."""
    if stage not in WAITING:
        stage, doing = "starting", ""
    return _(WAITING[stage]) + (f" · {doing}" if doing else "")
