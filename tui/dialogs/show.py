"""Dialogs that show a text: the help on a field, a raw prompt, a full answer."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.dialogs.modal import Modal
from tui.text.sanitize import visible
from tui.text.translation import N_, _


class HelpDialog(Modal[None]):
    """Shows `content` in full, then the keys as (key, what it does): for terminals too narrow for the help pane."""

    DEFAULT_CSS = """
    HelpDialog VerticalScroll { height: auto; max-height: 100%; }
    HelpDialog Static { height: auto; margin-bottom: 1; }
    """

    def __init__(self, content: Content, keys: list[tuple[str, str]]) -> None:
        super().__init__()
        self._content, self._keys = content, keys

    def compose(self) -> ComposeResult:
        keys = [part for key, does in self._keys for part in ((f"{key:>10}", "bold"), (f"  {does}\n", ""))]
        with Vertical(), VerticalScroll():
            yield Static(self._content, markup=False)
            yield Static(Content.assemble((_("Keys") + "\n", "bold"), *keys), markup=False)
            yield Static(_("Esc closes this."), markup=False, classes="note")


class PromptDialog(Modal[None]):
    """A full text, without markup. Scrolls with the arrow keys; Ctrl+Y copies."""

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
