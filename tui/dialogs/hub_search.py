"""Searches the Hub for a dataset as one types. The search runs in a thread, once the typing rests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static

from engine.hub.errors import HubError
from engine.hub.search import Found, search_datasets
from tui.dialogs.modal import Modal
from tui.text.errors import with_hint
from tui.text.sanitize import visible
from tui.text.translation import _
from tui.widgets.list_box import ListBox

QUIET_SECONDS = 0.4
Search = Callable[[str], Sequence[Found]]


class HubDialog(Modal[str]):
    """The result is the id of the chosen dataset."""

    DEFAULT_CSS = """
    HubDialog Input { margin-top: 1; }
    HubDialog ListBox.-textual-compact { height: 12; max-height: 50vh; margin: 1 0; }
    """

    def __init__(self, query: str = "", search: Search = search_datasets) -> None:
        super().__init__()
        self._query, self._search = query, search
        self._found: Sequence[Found] = ()

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(_("Search the Hub for a dataset"), markup=False, classes="title")
            yield Input(self._query, placeholder=_("words of its name"), compact=True)
            yield ListBox()
            yield Static("", markup=False, id="hub-state", classes="note")
            yield Static(
                _("Enter searches and takes, ↓ goes to the list, Esc closes."), markup=False, classes="note"
            )

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        if self._query:
            self._look(self._query)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._look(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if self._found:
            self.query_one(ListBox).focus()
        else:
            self._look(event.value)

    @work(exclusive=True)
    async def _look(self, query: str) -> None:
        state = self.query_one("#hub-state", Static)
        if not query.strip():
            self._show(())
            state.update("")
            return
        await asyncio.sleep(QUIET_SECONDS)
        self._show(())  # what was found for other words is none of this
        state.update(_("Searching…"))
        try:
            found = await asyncio.to_thread(self._search, query)
        except HubError as error:
            self._show(())
            state.update("✗ " + visible(with_hint(error.message, error.hint)))
            return
        self._show(found)
        state.update(_("{count} found").format(count=len(found)) if found else _("Nothing has such a name."))

    def _show(self, found: Sequence[Found]) -> None:
        self._found = found
        box = self.query_one(ListBox)
        box.clear_options()
        box.add_options([_line(one) for one in found])
        if found:
            box.highlighted = 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._found[event.option_index].id)


def _line(found: Found) -> Content:
    notes = [_("{count} downloads").format(count=f"{found.downloads:,}"), found.updated]
    notes += [_("private")] if found.private else []
    notes += [_("gated")] if found.gated else []
    return Content.assemble((visible(found.id), "bold"), ("  " + " · ".join(filter(None, notes)), "dim"))
