"""The dialog for a failed run: the cause, what to try, the end of the log, buttons to resume."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Static

from tui.dialogs.modal import Modal
from tui.text.translation import _


@dataclass(frozen=True)
class Failure:
    """Why a run failed, in sanitized texts. `code`: as in `loris status --json`. `hint` may be empty.

    `changes`: settings that should avoid it, a line each. `checkpoint`: the step to resume from, 0 when training
    would start over, None when the run cannot be resumed.
    """

    title: str
    code: str
    cause: str
    hint: str
    log: tuple[str, ...]
    log_path: str
    changes: tuple[str, ...] = ()
    checkpoint: int | None = None


FailureChoice = Literal["resume", "resume_changed", "wizard"]


class FailureModal(Modal[FailureChoice]):
    """The cause in a sentence, what to try, the end of the log and its path; buttons for what to do next."""

    DEFAULT_CSS = """
    FailureModal > Vertical { width: 100; border: round $error; padding: 0 2; }
    FailureModal Static { height: auto; }
    FailureModal .title { color: $text-error; margin-bottom: 1; }
    FailureModal .hint { margin-top: 1; text-style: bold; }
    FailureModal .label { color: $foreground-muted; margin-top: 1; }
    FailureModal VerticalScroll {
        height: auto; max-height: 28vh; background: $panel; padding: 0 1; scrollbar-size-vertical: 1;
    }
    FailureModal VerticalScroll Static { text-wrap: nowrap; text-overflow: ellipsis; }
    FailureModal .muted { color: $foreground-muted; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "resume", show=False),
        Binding("left", "app.focus_previous", show=False),
        Binding("right", "app.focus_next", show=False),
    ]

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self._failure = failure

    def compose(self) -> ComposeResult:
        shown = self._failure
        with Vertical():
            yield Static(Content.assemble(shown.title, (f"  {shown.code}", "not bold dim")), classes="title")
            yield Static(shown.cause, markup=False)
            if shown.hint:
                yield Static(_("What to try: {hint}").format(hint=shown.hint), markup=False, classes="hint")
            for change in shown.changes:
                yield Static("  → " + change, markup=False)
            yield Static(_("The end of the log"), markup=False, classes="label")
            with VerticalScroll(id="failure-log"):
                yield Static("\n".join(shown.log) or _("The log is empty."), markup=False)
            yield Static(_("Full log: {path}").format(path=shown.log_path), markup=False, classes="muted")
            with Horizontal(classes="buttons"):
                yield Button(_("Close"), id="close", variant="primary", compact=True)
                if shown.checkpoint is not None and shown.changes:
                    yield Button(_("Resume with these"), id="resume_changed", compact=True)
                elif shown.checkpoint is not None:
                    yield Button(_resume_label(shown.checkpoint), id="resume", compact=True)
                if shown.changes:
                    yield Button(_("New run with these"), id="wizard", compact=True)

    def on_mount(self) -> None:
        self.query_one("#failure-log", VerticalScroll).scroll_end(animate=False)
        self.query_one("#close", Button).focus()

    def action_resume(self) -> None:
        """Resume, with the proposed changes if there are any."""
        if self._failure.checkpoint is not None:
            self.dismiss("resume_changed" if self._failure.changes else "resume")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        ways: dict[str | None, FailureChoice] = {
            "resume": "resume",
            "resume_changed": "resume_changed",
            "wizard": "wizard",
        }
        self.dismiss(ways.get(event.button.id))


def _resume_label(checkpoint: int) -> str:
    return _("Resume from step {step}").format(step=checkpoint) if checkpoint else _("Start it again")
