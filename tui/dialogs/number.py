"""Asks for a number."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from tui.dialogs.modal import Modal
from tui.text.translation import _
from tui.widgets.editors import ChoicesWanted, LineEditor


class NumberDialog(Modal[int]):
    """The result is a number from 1 to `most`."""

    def __init__(self, title: str, most: int) -> None:
        super().__init__()
        self._title_text, self._most = title, most
        self._editor = LineEditor("", id="number")

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._title_text, markup=False, classes="title")
            yield self._editor
            yield Static("", markup=False, classes="error")
            yield Static(_("Enter takes it, Esc closes."), markup=False, classes="note")

    def on_mount(self) -> None:
        self._editor.focus()

    def on_choices_wanted(self, event: ChoicesWanted) -> None:
        event.stop()
        typed = self._editor.typed.strip()
        if typed.isdecimal() and 1 <= int(typed) <= self._most:
            self.dismiss(int(typed))
            return
        error = self.query_one(".error", Static)
        error.update(_("Type a number from 1 to {most}.").format(most=self._most))
        error.add_class("-shown")
