"""A collapsible part of a form."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from tui.text.translation import N_, _


class FoldTitle(Widget, can_focus=True):
    """The line that opens and closes a fold."""

    DEFAULT_CSS = """
    FoldTitle { height: 1; width: 1fr; color: $text-muted; }
    FoldTitle:focus { color: $block-cursor-foreground; background: $block-cursor-background; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "turn", N_("Open or close"), show=False)]

    class Toggled(Message):
        """The user pressed the title to open or close the fold."""

    title: reactive[str] = reactive("")
    note: reactive[str] = reactive("")
    is_open: reactive[bool] = reactive(False)

    def render(self) -> Content:
        sign = "▼" if self.is_open else "▶"
        note = f"  {self.note}" if self.note else ""
        key = "" if self.is_open else "  " + _("Enter opens")
        return Content.assemble(f"{sign} {self.title}", note, (key if self.has_focus else "", "dim"))

    def action_turn(self) -> None:
        self.post_message(self.Toggled())

    def on_click(self) -> None:
        self.action_turn()


class Fold(Widget):
    """A title line and, while open, the widgets below it."""

    DEFAULT_CSS = """
    Fold { height: auto; width: 1fr; margin-top: 1; }
    Fold > Vertical { height: auto; display: none; }
    Fold.-open > Vertical { display: block; }
    """

    def __init__(self, title: str, *children: Widget, opened: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._heading = FoldTitle()
        self._heading.title = title
        self._inside = children
        self.set_open(opened)

    def compose(self) -> ComposeResult:
        yield self._heading
        with Vertical():
            yield from self._inside

    @property
    def is_open(self) -> bool:
        return self.has_class("-open")

    def set_open(self, opened: bool) -> None:
        """Show or hide the content."""
        self.set_class(opened, "-open")
        self._heading.is_open = opened

    def set_note(self, note: str) -> None:
        """Set the text after the title, such as a count of errors."""
        self._heading.note = note

    def on_fold_title_toggled(self, event: FoldTitle.Toggled) -> None:
        event.stop()
        self.set_open(not self.is_open)
