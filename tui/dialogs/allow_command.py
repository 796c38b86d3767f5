"""Asks before the command of a run may run on this machine: with the run's start, and with a resume."""

from typing import Any

from textual.app import App

from engine.config.change import Change, apply_changes
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from engine.runs.consent import give_consent, has_consent
from engine.runs.folder import RunFolder
from tui.dialogs.ask import ConfirmModal
from tui.text.sanitize import visible
from tui.text.translation import _


def command_question(command: str, yes: str, no: str) -> ConfirmModal:
    """The question, with the command in it."""
    words = _("It comes with these settings, and has your rights on this machine:\n\n{command}")
    return ConfirmModal(_("Run this command after success?"), words.format(command=visible(command)), yes, no)


async def ask_before_resume(app: App[Any], folder: RunFolder, spec: RunSpec, changes: tuple[Change, ...]) -> None:
    """Ask about the run's command if it was not allowed on this machine; a no resumes without it.

    Raises OSError.
    """
    try:
        command = apply_changes(spec, changes).export.after_command.strip()
    except SpecError:
        return  # the resume reports it
    if not command or has_consent(folder, command):
        return
    if await app.push_screen_wait(command_question(command, _("Allow it and resume"), _("Resume without it"))):
        give_consent(folder, command)
