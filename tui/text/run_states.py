"""The words for what a run is."""

from __future__ import annotations

from engine.runs.exit_cause import LostCode
from tui.text.translation import N_

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
