"""Dialogs for stopping a run, each with what it costs, and for leaving Loris while it runs."""

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from engine.protocol.state import RunState
from engine.runs.lock_owner import TERMINATE_SECONDS
from tui.dialogs.ask import ConfirmModal
from tui.dialogs.modal import Modal
from tui.text.sanitize import visible
from tui.text.translation import N_, _

Leave = Literal["keep", "save", "discard"]
CHOICES: dict[Leave, tuple[str, str]] = {
    "keep": (N_("Keep running"), N_("The run continues without this terminal. To see it again: loris")),
    "save": (
        N_("Stop and save"),
        N_("It stops after the step in progress; what was learned is saved, and exported as the spec asks."),
    ),
    "discard": (N_("Stop and discard"), N_("It stops at once, without an adapter. Complete checkpoints stay.")),
}


def stop_question(rung: int, state: RunState, frozen: bool = False, command: str = "") -> ConfirmModal:
    """`rung`: 0 stop and save, 1 at once, 2 by force. `command`: of the spec, to run after the run."""
    if rung == 2:
        why = (
            _("Its process was stopped by a signal (kill -STOP) and cannot save anything.")
            if frozen
            else _("It was asked twice and is still running.")
        )
        cost = _(
            "It has {seconds} s to save a checkpoint, then it is killed. Complete checkpoints stay; steps after "
            "the last one are lost."
        ).format(seconds=f"{TERMINATE_SECONDS:g}")
        return ConfirmModal(_("Terminate the engine?"), f"{why} {cost}", yes=_("Terminate it"), no=_("Leave it"))
    if rung == 1:
        words = _(
            "It was asked to stop and has not yet: it may be saving. Stopped at once, it keeps complete "
            "checkpoints, but what it is saving now is lost."
        )
        return ConfirmModal(_("Stop at once?"), words, yes=_("Stop at once"), no=_("Wait"))
    if state.stage in ("starting", "loading", "preparing"):
        words = _("Training has not started: the engine ends at once. What was downloaded is kept.")
        return ConfirmModal(_("Stop the run?"), words, yes=_("Stop"), no=_("Continue"))
    if state.stage == "saving":
        words = _("The adapter is being saved. Stopped at once, it is lost; complete checkpoints stay.")
        return ConfirmModal(_("Stop at once?"), words, yes=_("Stop at once"), no=_("Wait"))
    if state.stage == "exporting":
        words = _("The export in progress is cancelled; earlier exports stay.")
        if state.undelivered:
            words += " " + _("What is missing then can be carried out later: loris export RUN --rest")
        return ConfirmModal(_("Cancel the export?"), words, yes=_("Stop"), no=_("Continue the export"))
    done = (
        _("{step} of {total} steps are done. ").format(step=state.step.step, total=state.training.total_steps)
        if state.step and state.training
        else ""
    )
    words = _(
        "Training stops after the step in progress, and what was learned so far is saved as an "
        "adapter, and exported as the spec asks. You can then chat with it and export it."
    )
    if command:
        words += " " + _("Once all that is done, this command runs, if it was confirmed: {command}").format(
            command=visible(command)
        )
    return ConfirmModal(
        _("Stop training and keep the model?"), done + words, yes=_("Stop and keep"), no=_("Continue training")
    )


class QuitModal(Modal[Leave]):
    """Escape stays in Loris. The button in focus keeps the run going."""

    DEFAULT_CSS = """
    QuitModal > Vertical { border: round $warning; padding: 0 2; }
    QuitModal .title { margin-bottom: 1; }
    QuitModal .what { height: auto; color: $text-muted; padding: 0 0 0 2; margin-bottom: 1; }
    """

    def __init__(self, run: str, where: str) -> None:
        """`run`: its title, sanitized. `where`: stage and step, as text."""
        super().__init__()
        self._run, self._where = run, where

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(_("Leave Loris? A run is in progress."), markup=False, classes="title")
            yield Static(Content(" · ".join(filter(None, (self._run, self._where)))), classes="what")
            for name, (title, what) in CHOICES.items():
                variant: Literal["primary", "default"] = "primary" if name == "keep" else "default"
                yield Button(Content(_(title)), id=name, variant=variant, compact=True)
                yield Static(_(what), markup=False, classes="what")
            yield Static(_("Esc stays here."), markup=False, classes="note")

    def on_mount(self) -> None:
        self.query_one("#keep").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        chosen: dict[str | None, Leave] = {"keep": "keep", "save": "save", "discard": "discard"}
        self.dismiss(chosen[event.button.id])


class StoppingModal(ModalScreen[None]):
    """Shows the progress of a stop. Closing it is safe: the engine was already asked to stop."""

    DEFAULT_CSS = """
    StoppingModal { align: center middle; }
    StoppingModal > Vertical {
        width: 70; max-width: 96%; height: auto; border: round $warning; background: $surface; padding: 0 2;
    }
    StoppingModal Static { height: auto; }
    StoppingModal .title { text-style: bold; margin-bottom: 1; }
    StoppingModal .note { color: $text-muted; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, run: str) -> None:
        super().__init__()
        self._run = run

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(_("Stopping {run}").format(run=self._run), markup=False, classes="title")
            yield Static("", markup=False, id="stopping")
            hint = _("Ctrl-Q leaves at once: the run stops all the same.")
            yield Static(hint, markup=False, classes="note")

    def set_text(self, words: str) -> None:
        """Show the progress."""
        self.query_one("#stopping", Static).update(Content(words))
