"""A list of suggestions for a text field. The user can still type something else in the field."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static

from tui.dialogs.modal import Modal
from tui.text.sanitize import visible
from tui.text.translation import _
from tui.widgets.list_box import ListBox


class ChooseDialog(Modal[str]):
    """The result is the chosen suggestion."""

    DEFAULT_CSS = "ChooseDialog ListBox { max-height: 14; margin: 1 0; }"

    def __init__(self, title: str, suggestions: Sequence[str], current: str) -> None:
        super().__init__()
        self._title_text, self._suggestions, self._current = title, tuple(suggestions), current

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._title_text, markup=False, classes="title")
            yield ListBox()
            yield Static(_("Enter takes it, Esc goes back to typing."), markup=False, classes="note")

    def on_mount(self) -> None:
        box = self.query_one(ListBox)
        box.add_options([Content(visible(one) or _("empty")) for one in self._suggestions])
        box.highlighted = self._suggestions.index(self._current) if self._current in self._suggestions else 0
        box.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._suggestions[event.option_index])
