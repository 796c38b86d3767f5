"""Dialogs of the run's screens: a question before something that cannot be undone, and the end of a failed run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from tui.i18n import N_, _

DIALOG_CSS = """
{name} {{ align: center middle; }}
{name} > Vertical {{
    width: 76; max-width: 100%; height: auto; max-height: 100%; padding: 0 2; border: round {tone};
}}
{name} Static {{ height: auto; }}
{name} .title {{ text-style: bold; margin-bottom: 1; }}
{name} .muted {{ color: $text-muted; }}
{name} Horizontal {{ height: auto; margin-top: 1; align-horizontal: right; }}
{name} Button {{ margin-left: 2; }}
"""


class AskModal(ModalScreen[bool]):
    """Asks once. Escape and the first button mean no."""

    DEFAULT_CSS = DIALOG_CSS.format(name="AskModal", tone="$warning")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(False)", N_("Back"), id="ask.no"),
        Binding("left,right", "app.focus_next", show=False),
    ]

    def __init__(self, title: str, words: str, yes: str, no: str) -> None:
        super().__init__()
        self._texts = title, words, yes, no

    def compose(self) -> ComposeResult:
        title, words, yes, no = self._texts
        with Vertical():
            yield Static(title, markup=False, classes="title")
            yield Static(words, markup=False)
            with Horizontal():
                yield Button(_escaped(no), id="no", compact=False)
                yield Button(_escaped(yes), id="yes", variant="warning")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")


@dataclass(frozen=True)
class Failure:
    """A run that went wrong, in words made safe. `hint` may be empty."""

    title: str
    cause: str
    hint: str
    log: tuple[str, ...]
    log_path: str


class FailureModal(ModalScreen[None]):
    """The cause in a sentence, what to try, the end of the log and where the rest of it lies."""

    DEFAULT_CSS = (
        DIALOG_CSS.format(name="FailureModal", tone="$error")
        + """
    FailureModal > Vertical { width: 100; }
    FailureModal .title { color: $error; }
    FailureModal .hint { margin-top: 1; }
    FailureModal .label { color: $text-muted; margin-top: 1; }
    FailureModal VerticalScroll { height: auto; max-height: 9; background: $surface; padding: 0 1; scrollbar-size-vertical: 1; }
    FailureModal VerticalScroll Static { text-wrap: nowrap; text-overflow: ellipsis; }
    """
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", N_("Close"), id="failure.close"),
    ]

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self._failure = failure

    def compose(self) -> ComposeResult:
        shown = self._failure
        with Vertical():
            yield Static(shown.title, markup=False, classes="title")
            yield Static(shown.cause, markup=False)
            if shown.hint:
                yield Static(_("What to try: {hint}").format(hint=shown.hint), markup=False, classes="hint")
            yield Static(_("The end of the log"), markup=False, classes="label")
            with VerticalScroll(id="failure-log"):
                yield Static("\n".join(shown.log) or _("The log is empty."), markup=False)
            yield Static(_("All of it: {path}").format(path=shown.log_path), markup=False, classes="muted")
            with Horizontal():
                yield Button(_escaped(_("Close")), id="close", variant="primary")

    def on_mount(self) -> None:
        self.query_one("#failure-log", VerticalScroll).scroll_end(animate=False)
        self.query_one("#close", Button).focus()

    def on_button_pressed(self) -> None:
        self.dismiss()


def _escaped(label: str) -> str:
    """A button's label is markup: keep brackets in it as they are."""
    return label.replace("[", r"\[")
