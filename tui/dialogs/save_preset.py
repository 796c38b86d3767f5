"""Asks for a name and saves the draft as one of the user's presets."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Static

from engine.config.presets import save_preset
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from tui.dialogs.modal import Modal
from tui.state.draft import Draft
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render
from tui.widgets.editors import ChoicesWanted, Edited, LineEditor


class SavePresetDialog(Modal[str]):
    """The result is the preset's name."""

    DEFAULT_CSS = """
    SavePresetDialog Static.label { margin-top: 1; }
    SavePresetDialog #overwrite { display: none; }
    SavePresetDialog #overwrite.-shown { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+s", "save", N_("Save"), id="save.save")]

    def __init__(self, draft: Draft, spec: RunSpec) -> None:
        super().__init__()
        self._draft, self._spec = draft, spec
        self._name_editor = LineEditor(spec.name, id="preset-name")
        self._description = LineEditor(spec.description, id="preset-description")

    @classmethod
    def of(cls, draft: Draft) -> SavePresetDialog | None:
        """None while the draft has errors: a saved preset must load again."""
        spec, errors = draft.build()
        return None if spec is None or errors else cls(draft, spec)

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
        self._show_error("", False)

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
        named = msgspec.structs.replace(self._spec, name=name.strip(), description=self._description.value)
        try:
            save_preset(name, named, overwrite)
        except SpecError as error:
            # A valid name is refused only when the preset exists; overwriting does not help an invalid name.
            taken = bool(name.strip(" -.")) and not overwrite
            self._refuse(render(error.errors[0].message), taken)
        except OSError as error:
            reason = error.strerror or str(error)
            self._refuse(_("The preset cannot be written: {reason}").format(reason=reason), False)
        else:
            self._draft.mark_saved(named)
            self.dismiss(name.strip())

    def _refuse(self, wrong: str, may_overwrite: bool) -> None:
        self._show_error(wrong, may_overwrite)
        self.query_one("#overwrite" if may_overwrite else "#preset-name").focus()

    def _show_error(self, wrong: str, may_overwrite: bool) -> None:
        self.query_one(".error", Static).update(Content.assemble(("✗", "bold"), f" {visible(wrong)}"))
        self.query_one(".error").set_class(bool(wrong), "-shown")
        self.query_one("#overwrite").set_class(may_overwrite, "-shown")
