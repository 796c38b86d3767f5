"""Asks before a run's command, or its reward functions, may run on this machine: with its start, and a resume."""

import asyncio
from typing import Any

from textual.app import App

from engine.config.change import Change, apply_changes
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from engine.preflight.rewards import unconfirmed_rewards
from engine.runs.consent import allow_rewards, give_consent, has_consent
from engine.runs.folder import RunFolder
from tui.dialogs.ask import ConfirmModal, FileQuestion
from tui.text.sanitize import visible
from tui.text.translation import _


def command_question(command: str, yes: str, no: str) -> ConfirmModal:
    """The question, with the command in it."""
    words = _("It comes with these settings, and has your rights on this machine:\n\n{command}")
    return ConfirmModal(_("Run this command after success?"), words.format(command=visible(command)), yes, no)


def rewards_question(path: str, content: bytes) -> FileQuestion:
    """The question, with the file in it."""
    words = _("{path} scores the answers, and has your rights on this machine:")
    return FileQuestion(
        _("Run these reward functions?"), words.format(path=visible(path)), content.decode("utf-8", "replace"),
        _("Allow them"), _("Do not run them"),
    )  # fmt: skip


async def ask_about_rewards(app: App[Any], spec: RunSpec) -> bool:
    """Whether the spec's reward functions may run: there are none, they were confirmed, or are now.

    Raises OSError.
    """
    content = await asyncio.to_thread(unconfirmed_rewards, spec)
    if content is None:
        return True
    if not await app.push_screen_wait(rewards_question(spec.grpo.rewards_file, content)):
        return False
    allow_rewards(content)
    return True


async def ask_before_resume(app: App[Any], folder: RunFolder, spec: RunSpec, changes: tuple[Change, ...]) -> None:
    """Ask about the run's reward functions and its command if they were not allowed on this machine.

    A no to the command resumes without it; a no to the functions lets the engine refuse. Raises OSError.
    """
    try:
        changed = apply_changes(spec, changes)
    except SpecError:
        return  # the resume reports it
    await ask_about_rewards(app, changed)
    command = changed.export.after_command.strip()
    if not command or has_consent(folder, command):
        return
    if await app.push_screen_wait(command_question(command, _("Allow it and resume"), _("Resume without it"))):
        give_consent(folder, command)
