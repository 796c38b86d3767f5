"""The end of a log. Draws only the visible lines, so that its length costs nothing."""

from collections import deque
from itertools import islice
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.text.translation import N_


class LogTail(ScrollView, can_focus=True):
    """Shows a bounded deque that the caller fills. The lines must be sanitized by `visible`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", N_("Follow the log"), id="log.follow", show=False),
    ]
    DEFAULT_CSS = """
    LogTail { height: 1fr; scrollbar-size: 0 1; padding: 0 1; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: deque[str] = deque()
        self._total = 0
        self._width = 0
        self.follow = True

    def show(self, lines: deque[str], total: int) -> None:
        """Show these lines; `total` includes those dropped at the start."""
        new = total - self._total if lines is self._lines else len(lines)
        if not new and lines is self._lines:
            return
        fallen = max(0, len(self._lines) + new - len(lines)) if lines is self._lines else 0
        self._lines, self._total = lines, total
        fresh = islice(reversed(lines), max(0, min(new, len(lines))))
        self._width = max((self._width, *(cell_len(line.expandtabs()) for line in fresh)))
        self.virtual_size = Size(self._width, len(lines))
        if self.follow:
            self.scroll_end(animate=False, immediate=True, x_axis=False)
        elif fallen:
            # Keep the same text visible while older lines are dropped.
            self.scroll_to(y=max(0, self.scroll_y - fallen), animate=False, immediate=True)
        self.refresh()

    def on_resize(self) -> None:
        if self.follow:
            self.scroll_end(animate=False, x_axis=False)

    def action_follow(self) -> None:
        """Scroll to the end and follow it."""
        self.follow = True
        self.scroll_end(animate=False, x_axis=False)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        # Scrolling up stops following; scrolling to the end starts it again.
        self.follow = new_value >= self.max_scroll_y

    def render_line(self, y: int) -> Strip:
        left, top = self.scroll_offset
        width = self.scrollable_content_region.width
        number = top + y
        if number >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        text = self._lines[number].expandtabs()
        strip = Strip([Segment(text, self.rich_style)])
        return strip.crop_extend(left, left + width, self.rich_style)
