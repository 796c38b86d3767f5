"""How long the examples are, with a line at a context length that the arrow keys move."""

from __future__ import annotations

from typing import ClassVar

from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from tui.i18n import N_

EIGHTHS = " ▁▂▃▄▅▆▇█"
LINE, ASCII_LINE = "┃", "|"
STEP = 64  # context lengths are multiples of this


class Histogram(Widget, can_focus=True):
    """Columns of rows by length. Left and right move the line by a step, with shift or page keys by eight."""

    DEFAULT_CSS = """
    Histogram { height: 8; padding: 0 1; }
    Histogram:focus { background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "move(1)", N_("Longer"), show=False),
        Binding("left", "move(-1)", N_("Shorter"), show=False),
        Binding("pagedown,shift+right", "move(8)", N_("Much longer"), show=False),
        Binding("pageup,shift+left", "move(-8)", N_("Much shorter"), show=False),
    ]
    length: reactive[int] = reactive(0, init=False)

    class Moved(Message):
        """The line stands at another length."""

        def __init__(self, length: int) -> None:
            super().__init__()
            self.length = length

    def __init__(self, unicode: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self._unicode = unicode
        self._lengths: tuple[tuple[int, int], ...] = ()

    def show(self, lengths: tuple[tuple[int, int], ...], length: int) -> None:
        """`lengths`: (tokens, rows) pairs in order. The line starts at `length`."""
        self._lengths = lengths
        self.set_reactive(Histogram.length, length)
        self.refresh()

    @property
    def _scale(self) -> tuple[int, int]:
        """(columns, tokens in a column), with room for the line."""
        columns = max(8, self.size.width)
        longest = max(self._lengths[-1][0] if self._lengths else 1, self.length, STEP)
        return columns, max(1, -(-(longest + 1) // columns))

    def action_move(self, by: int) -> None:
        # From an odd length to the next multiple in that direction.
        down = (self.length - 1) // STEP if by < 0 else self.length // STEP
        target = (down + (by if by > 0 else by + 1)) * STEP
        self.length = max(STEP, target)
        self.post_message(self.Moved(self.length))

    def render(self) -> RenderResult:
        columns, step = self._scale
        height = max(2, self.size.height - 1)
        counts = [0] * columns
        for tokens, rows in self._lengths:
            counts[min(tokens // step, columns - 1)] += rows
        most, at = max(counts, default=0), min(self.length // step, columns - 1)
        lines: list[tuple[str, str]] = []
        for row in range(height - 1, -1, -1):
            for column, rows in enumerate(counts):
                if column == at:
                    lines.append((LINE if self._unicode else ASCII_LINE, "bold $text-warning"))
                else:
                    lines.append(
                        (self._cell(rows, most, row, height), "$primary" if column < at else "$text-muted")
                    )
            lines.append(("\n", ""))
        return Content.assemble(*lines, self._axis(columns, step, at))

    def _cell(self, rows: int, most: int, row: int, height: int) -> str:
        if not rows or not most:
            return " "
        eighths = max(1, round(rows / most * height * 8)) - row * 8
        if self._unicode:
            return EIGHTHS[max(0, min(8, eighths))]
        return "#" if eighths >= 4 or (row == 0 and eighths > 0) else " "

    def _axis(self, columns: int, step: int, at: int) -> Content:
        """The numbers under the columns: none, the longest, and where the line stands."""
        mark, last = f"^{self.length}", str(columns * step)
        line = list("0".ljust(columns))
        for text, start in ((last, columns - len(last)), (mark, min(at, columns - len(mark)))):
            line[start : start + len(text)] = text
        return Content.styled("".join(line)[:columns], "$text-muted")
