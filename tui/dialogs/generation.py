"""The sampling settings, as a small form over the chat."""

from typing import Any, ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Button, Static

from engine.config.fields import field_info, parse_field
from engine.config.run_spec import GenerationSpec
from engine.config.sampling_presets import SAMPLING_HELP, SAMPLING_PRESETS
from tui.dialogs.modal import Modal
from tui.text.translation import N_, _, render
from tui.widgets.editors import LineEditor
from tui.widgets.field import Field, field_id
from tui.widgets.text_block import TextBlock

KEYS = (
    "max_new_tokens", "temperature", "min_p", "top_p", "top_k", "repetition_penalty", "seed", "system_prompt",
)  # fmt: skip


class GenerationDialog(Modal[GenerationSpec]):
    """The result is the spec with the user's changes; None when cancelled."""

    DEFAULT_CSS = """
    GenerationDialog VerticalScroll { height: auto; max-height: 16; scrollbar-size-vertical: 1; }
    GenerationDialog Button { min-width: 10; }
    GenerationDialog .about { color: $text-muted; height: 2; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "take", N_("Use these"), id="generation.take"),
    ]

    def __init__(self, generation: GenerationSpec) -> None:
        super().__init__()
        self._before = generation

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(_("How answers are made"), markup=False, classes="title")
            with VerticalScroll(can_focus=False):
                for key in KEYS:
                    yield Field(field_info(f"generation.{key}"), getattr(self._before, key))
            yield Static("", markup=False, classes="about")
            with Horizontal(classes="buttons"):
                yield Button(_("Use these"), id="take", variant="primary", compact=True)
                yield Button(_("Cancel"), id="cancel", compact=True)
                for name in SAMPLING_PRESETS:
                    yield Button(name, id=f"way-{name}", compact=True)

    def on_mount(self) -> None:
        self.query(Field).first().editor.focus()

    def on_descendant_focus(self) -> None:
        field = next((f for f in self.query(Field) if f.has_focus_within), None)
        way = SAMPLING_HELP.get((self.focused.id or "").removeprefix("way-"), "") if self.focused else ""
        self.query_one(".about", Static).update(_(field.info.help) if field else _(way) if way else "")

    def on_field_changed(self, event: Field.Changed) -> None:
        self._check()

    def on_field_asked(self, event: Field.Asked) -> None:
        self.focus_next()

    def _check(self) -> dict[str, Any] | None:
        """The converted values, or None; each error is shown at its field."""
        values, sound = {}, True
        for key in KEYS:
            info = field_info(f"generation.{key}")
            # Read from the editors: keys come in bursts on a slow line, and messages may not have arrived yet.
            editor = self.query_one(f"#{field_id(info.path)}", Field).editor
            typed = editor.text if isinstance(editor, TextBlock) else editor.value
            values[key], error = parse_field(info, typed)
            sound = sound and error is None
            differs = values[key] != getattr(self._before, key)
            self.query_one(f"#{field_id(info.path)}", Field).show_state(render(error) if error else "", differs)
        return values if sound else None

    def on_button_pressed(self, event: Button.Pressed) -> None:
        chosen = event.button.id or ""
        if chosen.startswith("way-"):
            self._put(chosen.removeprefix("way-"))
        elif chosen == "take":
            self.action_take()
        else:
            self.action_leave()

    def _put(self, name: str) -> None:
        """Fill in the values of a sampling preset."""
        for key, value in SAMPLING_PRESETS[name].items():
            editor = self.query_one(f"#{field_id(f'generation.{key}')}", Field).editor
            if isinstance(editor, LineEditor):
                editor.put(f"{value:g}")

    def action_take(self) -> None:
        if (values := self._check()) is not None:
            self.dismiss(msgspec.structs.replace(self._before, **values))
