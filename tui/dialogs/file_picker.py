"""Walks through the folders of this machine to choose a file, or a folder. Folders are read off the event loop."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.worker import get_current_worker

from tui.dialogs.modal import Modal
from tui.text.sanitize import visible
from tui.text.translation import N_, _
from tui.widgets.list_box import ListBox

MOST_ENTRIES = 2000


@dataclass(frozen=True)
class FolderEntry:
    """A row of the list. `leads_to`: the folder it opens; without one, choosing it ends the dialog."""

    label: str
    path: Path
    leads_to: Path | None = None


def entries_of(folder: Path, endings: Sequence[str], folders_too: bool = False) -> list[FolderEntry]:
    """What to show of a folder: the way up, its folders, its files with these endings. Raises OSError.

    Without endings a folder is wanted: then the first row is the folder itself.
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
    """The result is an absolute path. With `endings` a file is chosen, without a folder."""

    DEFAULT_CSS = """
    FilePicker ListBox.-textual-compact { height: 16; max-height: 60vh; margin: 1 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("backspace,left", "above", N_("Folder above"), id="picker.above", show=False),
    ]

    def __init__(self, title: str, start: Path, endings: Sequence[str] = (), *, folders: bool = False) -> None:
        """`folders`: a folder may be chosen as well as a file."""
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
            yield Static(_("Enter opens or takes, ← goes up, Esc closes."), markup=False, classes="note")

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
