"""What all dialogs share: a box in the middle, Escape to cancel, keys named in the user's language."""

from typing import ClassVar, TypeVar

from textual.binding import ActiveBinding, Binding, BindingType
from textual.screen import ModalScreen

from tui.text.key_names import translated
from tui.text.translation import N_
from tui.widgets.workers import GuardedWorkers

Result = TypeVar("Result")


class Modal(GuardedWorkers, ModalScreen[Result | None]):
    """A dialog; its result is None when cancelled. Put the content into one container."""

    DEFAULT_CSS = """
    Modal { align: center middle; }
    Modal > Vertical {
        width: 76; max-width: 96%; height: auto; max-height: 94%;
        padding: 0 1; border: round $primary; background: $surface;
    }
    Modal .title { text-style: bold; height: auto; }
    Modal .note { color: $text-muted; height: auto; }
    Modal .error { color: $text-error; height: auto; display: none; }
    Modal .error.-shown { display: block; }
    Modal Horizontal.buttons { height: auto; margin-top: 1; }
    Modal Horizontal.buttons Button { margin-right: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", N_("Close"), id="modal.close"),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        return translated(super().active_bindings)

    def action_leave(self) -> None:
        self.dismiss(None)
