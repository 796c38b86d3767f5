"""One-line editors for the fields of a form. Each posts `Edited` with the value as typed, unchecked."""

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input

from tui.text.translation import N_, _
from tui.text.values import escape, shown, unescape

LONGEST = 100_000  # characters: a file pasted by mistake would block the screen
FOCUSED = "$block-cursor-foreground on $block-cursor-background"


class Edited(Message):
    """The user changed a value. `value` is as typed."""

    def __init__(self, sender: Widget, value: Any) -> None:
        super().__init__()
        self.sender, self.value = sender, value


class ChoicesWanted(Message):
    """The user pressed Enter in an editor that can offer choices."""


class LineEditor(Input):
    """A text or a number on one line. Newlines and tabs are shown as \\n and \\t."""

    DEFAULT_CSS = """
    LineEditor.-textual-compact { background: $surface; padding: 0 1; }
    LineEditor.-textual-compact:focus { background: $primary 25%; background-tint: $foreground 0%; }
    """

    def __init__(self, value: str, placeholder: str = "", escaped: bool = False, id: str | None = None) -> None:
        self._escaped = escaped
        super().__init__(
            escape(value) if escaped else value,
            placeholder=placeholder, compact=True, select_on_focus=False, max_length=LONGEST, id=id,
        )  # fmt: skip

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(Edited(self, self.typed))

    @property
    def typed(self) -> str:
        """The typed text, unescaped."""
        return unescape(self.value) if self._escaped else self.value

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(ChoicesWanted())

    def put(self, value: str) -> None:
        """Set the value, as if it had been typed."""
        self.value = escape(value) if self._escaped else value
        self.cursor_position = len(self.value)


class ChoiceEditor(Widget, can_focus=True):
    """One of a few values: all side by side if they fit, else the current one with arrows."""

    DEFAULT_CSS = """
    ChoiceEditor { height: 1; width: 1fr; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "move(1)", N_("Next choice"), show=False),
        Binding("left", "move(-1)", N_("Previous choice"), show=False),
        Binding("enter", "list", N_("Choose from a list"), show=False),
    ]
    value: reactive[Any] = reactive(None, init=False)

    def __init__(self, choices: Sequence[Any], value: Any, id: str | None = None) -> None:
        super().__init__(id=id)
        self.choices = tuple(choices)
        self.set_reactive(ChoiceEditor.value, value)

    def render(self) -> Content:
        names = [shown(choice) for choice in self.choices]
        at = self.choices.index(self.value) if self.value in self.choices else -1
        current = f"bold {FOCUSED}" if self.has_focus else "bold $text"
        if at >= 0 and sum(cell_len(name) + 3 for name in names) <= self.size.width:
            parts: list[tuple[str, str]] = []
            for number, name in enumerate(names):
                mine = number == at
                parts += [(f"[{name}]" if mine else f" {name} ", current if mine else ""), (" ", "")]
            return Content.assemble(*parts)
        place = f"{at + 1}/{len(names)}"
        return Content.assemble(("‹ ", ""), (shown(self.value), current), (" ›  ", ""), (place, "dim"))

    def action_move(self, by: int) -> None:
        at = self.choices.index(self.value) if self.value in self.choices else -1
        self.value = self.choices[(at + by) % len(self.choices)]
        self.post_message(Edited(self, self.value))

    def action_list(self) -> None:
        self.post_message(ChoicesWanted())

    def on_click(self, event: events.Click) -> None:
        self.action_move(1)


class SwitchEditor(Widget, can_focus=True):
    """On or off: space, Enter or an arrow toggles it."""

    DEFAULT_CSS = "SwitchEditor { height: 1; width: 1fr; color: $text; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space,enter,left,right", "turn", N_("Switch"), show=False),
    ]
    value: reactive[Any] = reactive(False, init=False)

    def __init__(self, value: Any, id: str | None = None) -> None:
        super().__init__(id=id)
        self.set_reactive(SwitchEditor.value, value)

    def render(self) -> Content:
        style = f"bold {FOCUSED}" if self.has_focus else "bold"
        box = "[x]" if self.value is True else "[ ]"
        return Content.assemble((box, style), (" " + (_("on") if self.value is True else _("off")), ""))

    def action_turn(self) -> None:
        self.value = self.value is not True
        self.post_message(Edited(self, self.value))

    def on_click(self) -> None:
        self.action_turn()


class SeveralEditor(Widget, can_focus=True):
    """Any of a few values: arrows move, space switches one on or off."""

    DEFAULT_CSS = "SeveralEditor { height: auto; width: 1fr; color: $text; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "move(1)", N_("Next choice"), show=False),
        Binding("left", "move(-1)", N_("Previous choice"), show=False),
        Binding("space,enter", "turn", N_("Switch"), show=False),
    ]
    value: reactive[tuple[Any, ...]] = reactive((), init=False)
    at: reactive[int] = reactive(0)

    def __init__(
        self, choices: Sequence[Any], value: Sequence[Any], alone: Any = None, id: str | None = None
    ) -> None:
        """Other values than the choices are offered too. `alone`: a choice that excludes the others."""
        super().__init__(id=id)
        self.choices = tuple(dict.fromkeys((*choices, *value)))
        self._alone = alone
        self._cell = max(cell_len(str(choice)) for choice in self.choices) + 5
        self.set_reactive(SeveralEditor.value, tuple(value))

    def _per_line(self, width: int) -> int:
        return max(1, width // self._cell)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return -(-len(self.choices) // self._per_line(width))

    def render(self) -> Content:
        parts: list[tuple[str, str]] = []
        columns = self._per_line(self.size.width)
        for number, choice in enumerate(self.choices):
            style = f"bold {FOCUSED}" if self.has_focus and number == self.at else ""
            box = "[x]" if choice in self.value else "[ ]"
            parts += [(f"{box} {choice}", style), (" " * (self._cell - 4 - cell_len(str(choice))), "")]
            if number % columns == columns - 1:
                parts.append(("\n", ""))
        return Content.assemble(*parts)

    def action_move(self, by: int) -> None:
        self.at = (self.at + by) % len(self.choices)

    def action_turn(self) -> None:
        chosen = self.choices[self.at]
        # In the order of the choices, so that toggling twice changes nothing.
        value = tuple(c for c in self.choices if (c in self.value) != (c == chosen))
        if self._alone in value:
            value = (chosen,) if chosen == self._alone else tuple(c for c in value if c != self._alone)
        self.value = value
        self.post_message(Edited(self, self.value))

    def on_click(self, event: events.Click) -> None:
        at = event.y * self._per_line(self.size.width) + event.x // self._cell
        if at < len(self.choices):
            self.at = at
            self.action_turn()
