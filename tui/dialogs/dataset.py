"""Dialogs of the Dataset step: search the Hub, and map a role of the examples to columns."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, OptionList, Static

from engine.config.fields import did_you_mean
from engine.dataset.mapping import columns_in
from engine.hub.search import HubError, SearchResult, search_datasets
from tui.dialogs.modal import Modal
from tui.text.errors import with_hint
from tui.text.sanitize import visible
from tui.text.translation import _
from tui.widgets.editors import ChoicesWanted, Edited, LineEditor
from tui.widgets.list_box import ListBox

DEBOUNCE_SECONDS = 0.4  # without a keystroke, before the Hub is queried
Search = Callable[[str], Sequence[SearchResult]]
SAMPLE_CHARACTERS = 40  # of a column
Render = Callable[[str], Content]


class HubDialog(Modal[str]):
    """Searches the Hub as the user types, debounced, in a thread. The result is the dataset's id."""

    DEFAULT_CSS = """
    HubDialog Input { margin-top: 1; }
    HubDialog ListBox.-textual-compact { height: 12; max-height: 50vh; margin: 1 0; }
    """

    def __init__(self, query: str = "", search: Search = search_datasets) -> None:
        super().__init__()
        self._query, self._search = query, search
        self._found: Sequence[SearchResult] = ()

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(_("Search the Hub for a dataset"), markup=False, classes="title")
            yield Input(self._query, placeholder=_("words of its name"), compact=True)
            yield ListBox()
            yield Static("", markup=False, id="hub-state", classes="note")
            yield Static(
                _("Enter searches and selects, ↓ goes to the list, Esc closes."), markup=False, classes="note"
            )

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        if self._query:
            self._search_hub(self._query)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._search_hub(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if self._found:
            self.query_one(ListBox).focus()
        else:
            self._search_hub(event.value)

    @work(exclusive=True)
    async def _search_hub(self, query: str) -> None:
        state = self.query_one("#hub-state", Static)
        if not query.strip():
            self._show(())
            state.update("")
            return
        await asyncio.sleep(DEBOUNCE_SECONDS)
        self._show(())  # results of an earlier query
        state.update(_("Searching…"))
        try:
            found = await asyncio.to_thread(self._search, query)
        except HubError as error:
            self._show(())
            state.update("✗ " + visible(with_hint(error.message, error.hint)))
            return
        self._show(found)
        state.update(_("{count} found").format(count=len(found)) if found else _("Nothing matches this name."))

    def _show(self, found: Sequence[SearchResult]) -> None:
        self._found = found
        box = self.query_one(ListBox)
        box.clear_options()
        box.add_options([_found_line(one) for one in found])
        if found:
            box.highlighted = 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._found[event.option_index].id)


def _found_line(found: SearchResult) -> Content:
    notes = [_("{count} downloads").format(count=f"{found.downloads:,}"), found.updated]
    notes += [_("private")] if found.private else []
    notes += [_("gated")] if found.gated else []
    return Content.assemble((visible(found.id), "bold"), ("  " + " · ".join(filter(None, notes)), "dim"))


class MappingDialog(Modal[str]):
    """A column, a constant text, or a template of columns. The result is the value of the role's field.

    `usual`: a value that is no column, such as auto. `render`: the example with another filler, for the preview.
    """

    DEFAULT_CSS = """
    MappingDialog ListBox.-textual-compact { max-height: 9; margin: 1 0 0 0; }
    MappingDialog #example { height: auto; max-height: 6; background: $panel; padding: 0 1; margin-top: 1; }
    MappingDialog #example Static { height: auto; }
    MappingDialog .label { color: $text-muted; margin-top: 1; height: auto; }
    """

    def __init__(
        self, title: str, columns: Sequence[str], row: dict[str, Any], current: str, usual: str, render: Render
    ) -> None:
        super().__init__()
        self._title_text, self._columns, self._row, self._render_example = title, tuple(columns), row, render
        self._current = current
        # (value, its label, a sample)
        self._options = [(name, visible(name), _sample(row.get(name))) for name in self._columns]
        if usual and usual not in self._columns:
            self._options.insert(0, (usual, _("{name}: found in the data").format(name=usual), ""))
        self._options.append(("", _("nothing"), ""))
        self._editor = LineEditor(current, placeholder=_("empty"), id="filler")

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._title_text, markup=False, classes="title")
            yield ListBox()
            yield Static(
                _("Or write: {example} joins columns; = and a text gives it to every row.").format(
                    example="{title}\\n{body}"
                ),
                markup=False,
                classes="label",
            )
            yield self._editor
            yield Static("", markup=False, classes="error")
            with VerticalScroll(id="example", can_focus=False):
                yield Static("", markup=False, id="example-text")
            yield Static(_("Enter selects, Esc closes."), markup=False, classes="note")

    def on_mount(self) -> None:
        box = self.query_one(ListBox)
        box.add_options([_filler_line(name, sample) for _value, name, sample in self._options])
        values = [value for value, _name, _sample in self._options]
        known = self._current in values
        box.highlighted = values.index(self._current) if known else 0
        (box if known else self._editor).focus()
        self._show(self._current)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if self.focused is event.option_list:
            self._show(self._options[event.option_index][0])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._options[event.option_index][0])

    def on_edited(self, event: Edited) -> None:
        event.stop()
        self._show(str(event.value))

    def on_choices_wanted(self, event: ChoicesWanted) -> None:
        event.stop()
        if not self._wrong(self._editor.typed):
            self.dismiss(self._editor.typed)

    def _wrong(self, filler: str) -> str:
        """What is wrong with a typed filler; empty when it is valid."""
        if filler.startswith("=") or filler in [value for value, _name, _sample in self._options]:
            return ""
        for name in columns_in(filler):
            if name not in self._columns:
                words = _("There is no column {name}.").format(name=visible(name))
                near = did_you_mean(name, list(self._columns))
                return words + (" " + _("Did you mean {near}?").format(near=visible(near)) if near else "")
        return ""

    def _show(self, filler: str) -> None:
        wrong = self._wrong(filler)
        error = self.query_one(".error", Static)
        error.update(wrong)
        error.set_class(bool(wrong), "-shown")
        self.query_one("#example").display = not wrong
        if not wrong:
            self.query_one("#example-text", Static).update(self._render_example(filler))


def _filler_line(name: str, sample: str) -> Content:
    return Content.assemble((name, "bold"), ("  " + sample, "dim"))


def _sample(value: Any) -> str:
    """The start of a value, on one line."""
    text = " ".join(visible(value if isinstance(value, str) else "" if value is None else str(value)).split())
    return text if len(text) <= SAMPLE_CHARACTERS else text[: SAMPLE_CHARACTERS - 1] + "…"
