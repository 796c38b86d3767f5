"""Asks for a line of text, such as a new name."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Static

from tui.dialogs.modal import Modal
from tui.text.translation import _
from tui.widgets.editors import ChoicesWanted, LineEditor


class LineDialog(Modal[str]):
    """The result is the text; Enter takes it."""

    DEFAULT_CSS = "LineDialog LineEditor { margin-top: 1; }"

    def __init__(self, title: str, value: str, note: str = "") -> None:
        super().__init__()
        self._title_text, self._note = title, note
        self._editor = LineEditor(value, id="line")

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._title_text, markup=False, classes="title")
            yield self._editor
            if self._note:
                yield Static(self._note, markup=False, classes="note")
            with Horizontal(classes="buttons"):
                yield Button(_("OK"), id="ok", variant="primary", compact=True)
                yield Button(_("Cancel"), id="cancel", compact=True)

    def on_mount(self) -> None:
        self._editor.focus()

    def on_choices_wanted(self, event: ChoicesWanted) -> None:
        event.stop()
        self.dismiss(self._editor.value)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(self._editor.value if event.button.id == "ok" else None)
