"""Asks for a preset's name. What happens under that name is the caller's: it says whether it worked."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Static

from tui.dialogs.modal import Modal
from tui.text.sanitize import visible
from tui.text.translation import N_, _
from tui.widgets.editors import ChoicesWanted, Edited, LineEditor

# Saves under (name, description, overwrite): returns what is wrong, and whether overwriting would help.
Save = Callable[[str, str, bool], tuple[str, bool]]


class SaveDialog(Modal[str]):
    """The result is the name under which the preset was saved."""

    DEFAULT_CSS = """
    SaveDialog Static.label { margin-top: 1; }
    SaveDialog #overwrite { display: none; }
    SaveDialog #overwrite.-shown { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+s", "save", N_("Save"), id="save.save")]

    def __init__(self, name: str, description: str, save: Save) -> None:
        super().__init__()
        self._name_editor = LineEditor(name, id="preset-name")
        self._description = LineEditor(description, id="preset-description")
        self._save = save

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(_("Save these settings as a preset"), markup=False, classes="title")
            yield Static(_("Name"), markup=False, classes="label")
            yield self._name_editor
            yield Static("", markup=False, classes="error")
            yield Static(_("Description"), markup=False, classes="label")
            yield self._description
            with Horizontal(classes="buttons"):
                yield Button(_("Save"), id="save", variant="primary", compact=True)
                yield Button(_("Overwrite it"), id="overwrite", variant="warning", compact=True)
                yield Button(_("Cancel"), id="cancel", compact=True)

    def on_mount(self) -> None:
        self._name_editor.focus()

    def on_edited(self, event: Edited) -> None:
        event.stop()
        self._say("", False)

    def on_choices_wanted(self, event: ChoicesWanted) -> None:
        event.stop()
        self.action_save()

    def action_save(self) -> None:
        self._try(overwrite=False)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self.dismiss(None)
        else:
            self._try(overwrite=event.button.id == "overwrite")

    def _try(self, overwrite: bool) -> None:
        name = self._name_editor.value
        wrong, may_overwrite = self._save(name, self._description.value, overwrite)
        if not wrong:
            self.dismiss(name.strip())
            return
        self._say(wrong, may_overwrite)
        self.query_one("#overwrite" if may_overwrite else "#preset-name").focus()

    def _say(self, wrong: str, may_overwrite: bool) -> None:
        self.query_one(".error", Static).update(Content.assemble(("✗", "bold"), f" {visible(wrong)}"))
        self.query_one(".error").set_class(bool(wrong), "-shown")
        self.query_one("#overwrite").set_class(may_overwrite, "-shown")
