"""The help on a field in full, with the keys, for terminals with no room beside the form."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.dialogs.modal import Modal
from tui.text.translation import _


class HelpDialog(Modal[None]):
    """Shows `content`, then the keys as (key, what it does)."""

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
