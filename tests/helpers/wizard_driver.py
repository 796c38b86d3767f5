"""Shared by the wizard's tests: a backend that records its calls, and navigation through the forms."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from textual import events
from textual.pilot import Pilot
from textual.worker import WorkerCancelled

from engine.client.launch import Mode
from engine.config.run_spec import RunSpec
from engine.runs.folder import RunFolder
from tests.helpers.fake_run import FakeBackend
from tests.helpers.waiting import until
from tui.app import LorisApp
from tui.screens.wizard import KEY_OF_STEP, WizardScreen
from tui.widgets.field import Field
from tui.widgets.fold import FoldTitle

MOST_FIELDS = 120  # of a form, including fold titles

NASTY = "[red]x[/] [/nope] \x1b]0;pwned\x07 \u202eabc"
SHOWN_NASTY = "[red]x[/] [/nope] ␛]0;pwned␇ �abc"


@dataclass
class RecordingBackend(FakeBackend):
    """Records specs and launches, and makes a folder for each run."""

    alive: bool = False
    specs: list[RunSpec] = field(default_factory=list)
    abandoned: list[RunFolder] = field(default_factory=list)

    def new_run(self, spec: RunSpec) -> RunFolder:
        self.specs.append(spec)
        return RunFolder(Path(f"/runs/{len(self.specs)}"))

    def launch(self, folder: RunFolder, mode: Mode) -> None:
        super().launch(folder, mode)

    async def abandon(self, folder: RunFolder) -> None:
        self.abandoned.append(folder)
        await super().abandon(folder)


def wizard(pilot: Pilot[None]) -> WizardScreen:
    """The current wizard screen."""
    screen = pilot.app.screen
    assert isinstance(screen, WizardScreen)
    return screen


def loris(pilot: Pilot[None]) -> LorisApp:
    app = pilot.app
    assert isinstance(app, LorisApp)
    return app


async def settle(pilot: Pilot[None]) -> None:
    """Wait for workers and their messages."""
    for _ in range(3):
        await pilot.pause()
        with suppress(WorkerCancelled):  # by a newer check of the same field
            waited = [w for w in pilot.app.workers if w.group in ("default", "file", "folder", "check")]
            if waited:  # an empty list would wait for all of them
                await pilot.app.workers.wait_for_complete(waited)
    await pilot.pause()


def at_step(pilot: Pilot[None], name: str) -> Callable[[], bool]:
    """Whether this step is shown and has a focused widget."""
    return lambda: getattr(pilot.app.screen, "STEP", "") == name and pilot.app.focused is not None


async def open_step(pilot: Pilot[None], key: str) -> WizardScreen:
    """Go to a step by its key."""
    await pilot.press(key)
    await until(pilot, at_step(pilot, next(name for name, its in KEY_OF_STEP.items() if its == key)))
    await settle(pilot)
    return wizard(pilot)


async def walk_to(pilot: Pilot[None], path: str) -> None:
    """Go to a field with the Tab key, opening folds on the way."""
    for _ in range(MOST_FIELDS):
        field, focused = wizard(pilot).field_at(path), pilot.app.focused
        if focused is field.editor:
            return
        if isinstance(focused, FoldTitle) and not focused.is_open and focused.parent in field.ancestors:
            await pilot.press("enter")
        await pilot.press("tab")
        await pilot.pause()
    raise AssertionError(f"Tab does not come to {path}")


async def type_into(pilot: Pilot[None], path: str, text: str) -> Field:
    """Replace the content of a text field by typing."""
    field = wizard(pilot).field_at(path)
    wizard(pilot).focus_field(path)
    await until(pilot, lambda: pilot.app.focused is field.editor)
    await pilot.press("end", "ctrl+u")
    if len(text) > 8:
        field.editor.post_message(events.Paste(text))  # as terminals do, and faster than keys
    else:
        await pilot.press(*text)
    await until(pilot, lambda: getattr(field.editor, "value", "") == text and field.reported == field.value)
    await settle(pilot)
    return field


def error_of(field: Field) -> str:
    """The error shown at a field, or empty."""
    shown = field.query_one(".error")
    return str(shown.render()) if shown.display else ""
