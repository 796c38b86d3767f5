"""Shows a whole text as it is: the prompt as the model is given it, or an answer."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.dialogs.modal import Modal
from tui.text.sanitize import visible
from tui.text.translation import N_, _


class PromptDialog(Modal[None]):
    """Scrolls with the arrow keys; Ctrl+Y copies."""

    DEFAULT_CSS = """
    PromptDialog VerticalScroll { height: auto; max-height: 16; margin: 1 0; background: $panel; padding: 0 1; }
    PromptDialog VerticalScroll Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+y", "copy", N_("Copy"), id="prompt.copy")]

    def __init__(self, text: str, title: str) -> None:
        super().__init__()
        self._text, self._words = text, title

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._words, markup=False, classes="title")
            with VerticalScroll():
                yield Static(Content(visible(self._text)), markup=False)
            yield Static(_("↑ ↓ scroll, Ctrl+Y copies, Esc closes."), markup=False, classes="note")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._text)
        self.notify(_("Copied."))
