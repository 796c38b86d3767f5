"""A field of a form: label, editor, and the error below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from engine.config.fields import FieldInfo
from engine.config.lora import ALL_LINEAR
from tui.text.sanitize import visible
from tui.text.translation import _
from tui.text.values import shown
from tui.widgets.editors import (
    ChoiceEditor,
    ChoicesWanted,
    Edited,
    LineEditor,
    SeveralEditor,
    SwitchEditor,
)
from tui.widgets.text_block import TextBlock

# Editors of fields for which the kind is not enough.
BLOCKS = ("dataset.prompt_template", "generation.system_prompt")
ESCAPED = ("dataset.instruction_part", "dataset.response_part")
# The library's name is shown next to short editors only; the help has it for all.
HINTED = ("int", "float", "bool")
CHOICE_HINT_CELLS = 40
MANY_CHOICES = 6  # more are offered as a list too


class Field(Widget):
    """Built from a `FieldInfo`. Posts `Field.Changed` as the user types and `Field.Asked` for suggestions."""

    DEFAULT_CSS = """
    Field { height: auto; width: 1fr; }
    Field > Horizontal { height: auto; }
    Field .mark { width: 2; color: $text-accent; text-style: bold; }
    Field .label { width: 24; text-wrap: nowrap; text-overflow: ellipsis; padding-right: 1; }
    Field.-active .label { text-style: bold; color: $text-accent; }
    Field .hint {
        width: auto; max-width: 50%; padding: 0 1; color: $text-muted; text-style: dim;
        text-wrap: nowrap; text-overflow: ellipsis;
    }
    Field .hint.-none { display: none; }
    Field.-number LineEditor { width: 10; }
    Field.-number .hint, Field.-switch .hint { width: 1fr; max-width: 100%; }
    Field SwitchEditor { width: 10; padding: 0 1; }
    Field ChoiceEditor { padding: 0 1 0 0; }
    Field .error { display: none; margin-left: 26; color: $text-error; height: auto; }
    Field.-wrong .error { display: block; }
    Field.-wrong .label { color: $text-error; }
    """

    class Changed(Message):
        """`value` is as typed."""

        def __init__(self, field: Field, value: Any) -> None:
            super().__init__()
            self.field, self.value = field, value

    class Asked(Message):
        """Enter was pressed: show the suggestions, or go to the next field if there are none."""

        def __init__(self, field: Field) -> None:
            super().__init__()
            self.field = field

    def __init__(self, info: FieldInfo, value: Any, suggestions: Sequence[str] = ()) -> None:
        super().__init__(id=field_id(info.path))
        self.info = info
        self.suggestions = tuple(suggestions)
        if info.kind == "choice" and len(info.choices) > MANY_CHOICES:
            self.suggestions = tuple(map(shown, info.choices))
        self.editor = _editor(info, value)
        if info.kind in ("int", "float"):
            self.add_class("-number")
        if info.kind == "bool":
            self.add_class("-switch")
        self.reported = self.value  # the value that was last reported
        self._error = ""
        self._differs = False
        self._note = ""

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static("", markup=False, classes="mark")
            yield Static(_(self.info.title), markup=False, classes="label")
            yield self.editor
            hint = self._hint()
            yield Static(hint, markup=False, classes="hint" if hint else "hint -none")
        yield Static(self._error, markup=False, classes="error")

    def _hint(self) -> str:
        if self.info.kind in HINTED:
            return self.info.key
        width = sum(cell_len(shown(choice)) + 3 for choice in self.info.choices) + cell_len(self.info.key)
        if self.info.kind == "choice" and width < CHOICE_HINT_CELLS:
            return self.info.key
        return _("Enter: choose") if self.suggestions else ""

    def note(self, words: str) -> None:
        """Show a note next to the editor instead of the hint; empty for the hint."""
        self._note = words
        self.offer(self.suggestions)

    def offer(self, suggestions: Sequence[str]) -> None:
        """Replace the suggestions."""
        self.suggestions = tuple(suggestions)
        if self.is_mounted:
            hint = self._note or self._hint()
            for shown_hint in self.query(".hint").results(Static):  # none while the screen is closing
                shown_hint.update(hint)
                shown_hint.set_class(not hint, "-none")

    def show_state(self, error: str, differs: bool) -> None:
        """Show the error, if any; mark a value that differs from the preset."""
        if (error, differs) == (self._error, self._differs):
            return
        self._error, self._differs = error, differs
        self.set_class(bool(error), "-wrong")
        self.query_one(".error", Static).update(Content.assemble(("✗", "bold"), f" {visible(error)}"))
        self._show_mark()

    def _show_mark(self) -> None:
        """The focused field has a sign too, for terminals without colour."""
        active = "›" if self.has_class("-active") else ""
        self.query_one(".mark", Static).update("✗" if self._error else "•" if self._differs else active)

    def on_descendant_focus(self) -> None:
        self.add_class("-active")
        self._show_mark()

    def on_descendant_blur(self) -> None:
        self.remove_class("-active")
        self._show_mark()

    @property
    def value(self) -> Any:
        """The editor's value, as typed."""
        if isinstance(self.editor, LineEditor | TextBlock):
            return self.editor.typed
        return self.editor.value

    def put(self, value: Any) -> None:
        """Set the value, as if the user had typed it."""
        if isinstance(self.editor, LineEditor | TextBlock):
            self.editor.put(_as_text(self.info, value))
        else:
            self.editor.value = self.reported = value
            self.post_message(Field.Changed(self, value))

    def follow(self, value: Any) -> None:
        """Show a value that follows from another field. It is no edit; one that was not reported yet is kept."""
        wanted = _as_text(self.info, value) if isinstance(self.editor, LineEditor) else value
        if self.value != self.reported or self.value == wanted:
            return
        if isinstance(self.editor, LineEditor):
            with self.editor.prevent(LineEditor.Changed):
                self.editor.put(wanted)
        elif not isinstance(self.editor, TextBlock):
            self.editor.value = wanted
        self.reported = self.value

    def on_edited(self, event: Edited) -> None:
        event.stop()
        if event.value != self.reported:  # Textual also posts this for the value that an editor starts with
            self.reported = event.value
            self.post_message(Field.Changed(self, event.value))

    def on_choices_wanted(self, event: ChoicesWanted) -> None:
        event.stop()
        self.post_message(Field.Asked(self))

    def on_click(self, event: events.Click) -> None:
        if event.widget is not self.editor:
            self.editor.focus()


def field_id(path: str) -> str:
    """The widget id of the field at a dotted path."""
    return "field-" + path.replace(".", "-")


def _as_text(info: FieldInfo, value: Any) -> str:
    return "\n".join(map(str, value)) if info.kind == "lines" and not isinstance(value, str) else shown(value)


def _editor(info: FieldInfo, value: Any) -> LineEditor | ChoiceEditor | SwitchEditor | SeveralEditor | TextBlock:
    match info.kind:
        case "bool":
            return SwitchEditor(value)
        case "choice":
            return ChoiceEditor(info.choices, value)
        case "choices":
            return SeveralEditor(info.choices, value, alone=ALL_LINEAR)
        case "lines":
            return TextBlock(_as_text(info, value), lines=True)
    if info.path in BLOCKS:
        block = TextBlock(_as_text(info, value))
        block.set_class(info.path == "dataset.prompt_template", "-tall")
        return block
    empty = _("empty") if not info.required and info.kind == "text" else ""
    return LineEditor(_as_text(info, value), placeholder=empty, escaped=info.path in ESCAPED)
