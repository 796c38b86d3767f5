"""What is said while a run is stopped, and of what is left of it."""

from __future__ import annotations

from engine.client.stop import Phase
from engine.runs.lock_owner import Survived
from tui.text.translation import N_, _

PHASES: dict[Phase, str] = {
    "asked": N_("Asked to stop. If it shows no sign of life for {grace} s, it is ended."),
    "frozen": N_("Its process is held up by a signal and cannot answer."),
    "silent": N_("No sign of life for {grace} s."),
    "now": N_("Telling it to end at once, with what is on disk."),
    "force": N_("Ending it by force."),
}


def phase_words(phase: Phase, grace: float) -> str:
    return _(PHASES[phase]).format(grace=f"{grace:g}")


def survived_lines(survived: Survived) -> list[str]:
    """What is there to go on with, a line each."""
    lines = []
    if survived.adapter:
        lines.append(_("The trained adapter is saved and whole: chat with it or save it from loris."))
    if survived.checkpoint is not None:
        checkpoint = _("The checkpoint of step {step} is whole: resuming goes on from it.")
        lines.append(checkpoint.format(step=survived.checkpoint))
    return lines or [_("Nothing was saved yet: neither an adapter nor a checkpoint.")]
