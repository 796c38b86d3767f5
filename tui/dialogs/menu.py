"""A list of things to do, each with its key and a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import set_cell_size
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static

from tui.dialogs.modal import Modal
from tui.text.translation import _
from tui.widgets.list_box import ListBox

TITLE_CELLS = 20


@dataclass(frozen=True)
class MenuItem:
    """`name` is the result; `key` chooses it at once. Texts made safe and translated."""

    name: str
    key: str
    title: str
    about: str


class MenuDialog(Modal[str]):
    """The result is the name of the chosen item."""

    DEFAULT_CSS = "MenuDialog ListBox { max-height: 14; margin: 1 0; }"

    def __init__(self, title: str, items: list[MenuItem]) -> None:
        super().__init__()
        self._title_text, self._items = title, items

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._title_text, markup=False, classes="title")
            yield ListBox()
            yield Static(_("Enter or the letter does it, Esc leaves."), markup=False, classes="note")

    def on_mount(self) -> None:
        box = self.query_one(ListBox)
        for item in self._items:
            title = set_cell_size(item.title, TITLE_CELLS)
            box.add_option(Content.assemble((f" {item.key} ", "bold"), " ", title, " ", (item.about, "dim")))
        box.highlighted = 0
        box.focus()

    def on_key(self, event: events.Key) -> None:
        for item in self._items:
            if event.key == item.key:
                event.stop()
                self.dismiss(item.name)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._items[event.option_index].name)
