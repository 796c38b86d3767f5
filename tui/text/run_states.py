"""Texts for the state of a run, and for waiting, stopping and resuming."""

from collections.abc import Sequence

from engine.client.stop import Phase
from engine.protocol.events import Stage
from engine.runs.exit_cause import ExitCauseCode
from engine.runs.lock_owner import SavedWork
from tui.text.sanitize import visible
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
    "undelivered": N_("trained, something missing"),
    "failed": N_("failed"),
    "interrupted": N_("interrupted"),
    "unreadable": N_("cannot be read"),
}

# What happened to the engine of an interrupted run.
LOST: dict[ExitCauseCode, str] = {
    "killed": N_("killed"),
    "rebooted": N_("machine restarted"),
    "other_machine": N_("on another machine"),
    "terminated": N_("terminated"),
}

PHASES: dict[Phase, str] = {
    "asked": N_("Asked to stop. If it does not respond for {grace} s, it is terminated."),
    "delivering": N_(
        "Training has ended. What the spec asks for is carried out first, then its confirmed command; to skip it: "
        "loris stop --now"
    ),
    "frozen": N_("Its process was stopped by a signal and cannot answer."),
    "silent": N_("No response for {grace} s."),
    "now": N_("Stopping it at once, with what is on disk."),
    "force": N_("Terminating it."),
}


def describe_stop_phase(phase: Phase, grace: float) -> str:
    return _(PHASES[phase]).format(grace=f"{grace:g}")


def survived_lines(survived: SavedWork) -> list[str]:
    """What the run can continue with, one per line."""
    lines = []
    if survived.adapter:
        lines.append(_("What was trained is saved and complete: chat with it or export it from loris."))
    if survived.checkpoint is not None:
        checkpoint = _("The checkpoint of step {step} is complete: resuming starts there.")
        lines.append(checkpoint.format(step=survived.checkpoint))
    return lines or [_("Nothing was saved yet: neither a result nor a checkpoint.")]


def missing_lines(missing: Sequence[str], run: str) -> list[str]:
    """What is not done of what the spec asks for after training, and the command that does it; else nothing."""
    if not missing:
        return []
    return [
        _("Trained and kept, but this is missing: {names}").format(names=visible(", ".join(missing))),
        _("Carry out the rest, and then the command after the run: {command}").format(
            command=visible(f"loris export {run} --rest")
        ),
    ]


def describe_resume(step: int | None) -> str:
    """Shown when a run resumes from the checkpoint of this step."""
    if step:
        return _("Resuming from step {step} …").format(step=step)
    return _("Starting again from the first step …")


# Shown until the engine answers.
WAITING = {
    "starting": N_("the engine is starting: importing Unsloth takes 10 to 30 seconds"),
    "loading": N_("the model is loading"),
}


def describe_waiting(stage: Stage, doing: str) -> str:
    """`doing`: the line that the engine is writing, sanitised."""
    if stage not in WAITING:
        stage, doing = "starting", ""
    return _(WAITING[stage]) + (f" · {doing}" if doing else "")
