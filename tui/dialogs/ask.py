"""Dialogs that ask for one value: a line, a number, yes or no, an item of a list, a file."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.cells import set_cell_size
from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, OptionList, Static
from textual.worker import get_current_worker

from tui.dialogs.modal import Modal
from tui.text.sanitize import visible
from tui.text.translation import N_, _
from tui.widgets.editors import ChoicesWanted, LineEditor
from tui.widgets.list_box import ListBox

TITLE_CELLS = 20  # of a menu item
MOST_ENTRIES = 2000  # of a folder


class LineDialog(Modal[str]):
    """A line of text, such as a new name; Enter accepts it."""

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
            yield Static(_("Enter selects, Esc closes."), markup=False, classes="note")

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


class ConfirmModal(Modal[bool]):
    """Yes or no. Escape and the button in focus mean no."""

    DEFAULT_CSS = """
    ConfirmModal > Vertical { border: round $warning; padding: 0 2; }
    ConfirmModal Static { height: auto; margin-bottom: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "app.focus_previous", show=False),
        Binding("right", "app.focus_next", show=False),
    ]

    def __init__(self, title: str, words: str, yes: str, no: str) -> None:
        super().__init__()
        self._texts = title, words, yes, no

    def compose(self) -> ComposeResult:
        _title, _words, yes, no = self._texts
        with Vertical():
            yield from self.explanation()
            with Horizontal(classes="buttons"):
                yield Button(Content(no), id="no", compact=True)
                yield Button(Content(yes), id="yes", variant="warning", compact=True)

    def explanation(self) -> Iterable[Widget]:
        """What is above the buttons."""
        title, words, _yes, _no = self._texts
        yield Static(title, markup=False, classes="title")
        yield Static(words, markup=False)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")


class FileQuestion(ConfirmModal):
    """Yes or no to a file, which is shown: Page Up and Page Down scroll it."""

    DEFAULT_CSS = """
    FileQuestion VerticalScroll { height: auto; max-height: 12; background: $panel; padding: 0 1; }
    FileQuestion VerticalScroll Static { margin-bottom: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pagedown", "scroll(1)", show=False),
        Binding("pageup", "scroll(-1)", show=False),
    ]

    def __init__(self, title: str, words: str, text: str, yes: str, no: str) -> None:
        super().__init__(title, words, yes, no)
        self._file = text

    def explanation(self) -> Iterable[Widget]:
        yield from super().explanation()
        with VerticalScroll(can_focus=False):
            yield Static(Content(visible(self._file)), markup=False)
        yield Static(_("Page Up and Page Down scroll it."), markup=False, classes="note")

    def action_scroll(self, pages: int) -> None:
        shown = self.query_one(VerticalScroll)
        shown.scroll_relative(y=pages * shown.size.height, animate=False)


class ListDialog(Modal[str]):
    """One of a list: `names` are the results, `lines` what is shown, `at` the item selected at first."""

    DEFAULT_CSS = "ListDialog ListBox { max-height: 14; margin: 1 0; }"

    def __init__(self, title: str, names: Sequence[str], lines: Sequence[Content], at: int, note: str) -> None:
        super().__init__()
        self._title_text, self._names, self._lines, self._at, self._note = title, names, lines, at, note

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._title_text, markup=False, classes="title")
            yield ListBox()
            yield Static(self._note, markup=False, classes="note")

    def on_mount(self) -> None:
        box = self.query_one(ListBox)
        box.add_options(self._lines)
        box.highlighted = self._at
        box.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._names[event.option_index])


class ChooseDialog(ListDialog):
    """Suggestions for a text field, which still accepts any other text."""

    def __init__(self, title: str, suggestions: Sequence[str], current: str) -> None:
        names = tuple(suggestions)
        lines = [Content(visible(one) or _("empty")) for one in names]
        at = names.index(current) if current in names else 0
        super().__init__(title, names, lines, at, _("Enter selects, Esc goes back to typing."))


@dataclass(frozen=True)
class MenuItem:
    """`name` is the result; `key` chooses it at once. Texts are sanitized and translated."""

    name: str
    key: str
    title: str
    about: str

    def line(self) -> Content:
        title = set_cell_size(self.title, TITLE_CELLS)
        return Content.assemble((f" {self.key} ", "bold"), " ", title, " ", (self.about, "dim"))


class MenuDialog(ListDialog):
    """A menu of actions, each with its key and a sentence."""

    def __init__(self, title: str, items: Sequence[MenuItem]) -> None:
        note = _("Enter or the letter does it, Esc leaves.")
        super().__init__(title, [item.name for item in items], [item.line() for item in items], 0, note)
        self._by_key = {item.key: item.name for item in items}

    def on_key(self, event: events.Key) -> None:
        if event.key in self._by_key:
            event.stop()
            self.dismiss(self._by_key[event.key])


@dataclass(frozen=True)
class FolderEntry:
    """A row of the file picker. `leads_to`: the folder it opens; None when choosing it ends the dialog."""

    label: str
    path: Path
    leads_to: Path | None = None


def entries_of(folder: Path, endings: Sequence[str], folders_too: bool = False) -> list[FolderEntry]:
    """The rows for a folder: its parent, its folders, its files with these endings. Raises OSError.

    Without endings the user picks a folder: then the first row is the folder itself.
    """
    folders, files = [], []
    with os.scandir(folder) as found:
        for entry in found:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif endings and entry.name.lower().endswith(tuple(endings)):
                files.append(entry.name)
    rows = [] if endings and not folders_too else [FolderEntry(_("✓ choose this folder"), folder)]
    if folder.parent != folder:
        rows.append(FolderEntry(_("↑ folder above"), folder.parent, folder.parent))
    rows += [FolderEntry(f"▸ {name}/", folder / name, folder / name) for name in sorted(folders, key=str.lower)]
    rows += [FolderEntry(f"  {name}", folder / name) for name in sorted(files, key=str.lower)]
    return rows[:MOST_ENTRIES]


class FilePicker(Modal[str]):
    """The result is an absolute path: of a file with one of `endings`, or of a folder when there are none."""

    DEFAULT_CSS = """
    FilePicker ListBox.-textual-compact { height: 16; max-height: 60vh; margin: 1 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("backspace,left", "above", N_("Folder above"), id="picker.above", show=False),
    ]

    def __init__(self, title: str, start: Path, endings: Sequence[str] = (), *, folders: bool = False) -> None:
        """`folders`: a folder can be chosen too."""
        super().__init__()
        self._folders_too = folders
        self._title_text, self._endings = title, tuple(endings)
        self._folder = next((p for p in (start, *start.parents) if p.is_dir()), Path("/"))
        self._entries: list[FolderEntry] = []

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._title_text, markup=False, classes="title")
            yield Static("", markup=False, id="where", classes="note")
            yield ListBox()
            yield Static("", markup=False, id="picker-error", classes="error")
            yield Static(_("Enter opens or selects, ← goes up, Esc closes."), markup=False, classes="note")

    def on_mount(self) -> None:
        self.query_one(ListBox).focus()
        self._open(self._folder)

    @work(thread=True, exclusive=True)
    def _open(self, folder: Path) -> None:
        worker = get_current_worker()
        try:
            entries = entries_of(folder, self._endings, self._folders_too)
        except OSError as error:
            reason = error.strerror or str(error)
            if not worker.is_cancelled:
                self.app.call_from_thread(self._fail, folder, reason)
            return
        if not worker.is_cancelled:
            self.app.call_from_thread(self._show, folder, entries)

    def _fail(self, folder: Path, reason: str) -> None:
        words = _("{folder} cannot be opened: {reason}").format(folder=visible(str(folder)), reason=reason)
        self.query_one("#picker-error", Static).update(words)
        self.query_one("#picker-error").add_class("-shown")

    def _show(self, folder: Path, entries: list[FolderEntry]) -> None:
        came_from, self._folder, self._entries = self._folder, folder, entries
        self.query_one("#picker-error").remove_class("-shown")
        self.query_one("#where", Static).update(visible(str(folder)))
        box = self.query_one(ListBox)
        box.clear_options()
        box.add_options([Content(visible(entry.label)) for entry in entries])
        box.highlighted = next((n for n, entry in enumerate(entries) if entry.path == came_from), 0)

    def action_above(self) -> None:
        self._open(self._folder.parent)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        entry = self._entries[event.option_index]
        if entry.leads_to:
            self._open(entry.leads_to)
        else:
            self.dismiss(str(entry.path))
