"""A histogram of the rows' lengths, with the context length as a line that the arrow keys move."""

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from tui.text.translation import N_, _

BLOCKS = " ▁▂▃▄▅▆▇█"
LOWEST, HIGHEST = 16, 1_048_576  # range of the field
FAR = 8  # steps of a page
AXIS_ROOM = 1.15  # the axis extends past the longest row

Lengths = Sequence[tuple[int, int]]


def length_covering(lengths: Lengths, share: float) -> int:
    """The shortest length that fits that share of the rows without cutting them."""
    left = sum(rows for _tokens, rows in lengths) * (1 - share)
    for tokens, rows in reversed(lengths):
        left -= rows
        if left < 0:
            return max(LOWEST, tokens)
    return LOWEST


def columns(lengths: Lengths, top: int, width: int) -> list[int]:
    """Rows by column, of lengths from 0 to `top`."""
    counts = [0] * width
    for tokens, rows in lengths:
        counts[min(width - 1, tokens * width // (top + 1))] += rows
    return counts


class LengthPlot(Widget, can_focus=True):
    """Posts `Moved` when the line moves, and `Chosen` when Enter makes it the context length."""

    DEFAULT_CSS = """
    LengthPlot { height: 8; padding: 0 1; background: $surface; }
    LengthPlot:focus { background: $primary 15%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "move(1)", N_("Longer"), show=False),
        Binding("left", "move(-1)", N_("Shorter"), show=False),
        Binding("pagedown,shift+right", f"move({FAR})", N_("Much longer"), show=False),
        Binding("pageup,shift+left", f"move(-{FAR})", N_("Much shorter"), show=False),
        Binding("home", "hold(0.99)", N_("Holds 99%"), show=False),
        Binding("end", "hold(1.0)", N_("Holds all"), show=False),
        Binding("enter", "take", N_("Use this length"), show=False),
    ]
    at: reactive[int] = reactive(2048, init=False)

    class Moved(Message):
        """The line is at `at` tokens."""

        def __init__(self, at: int) -> None:
            super().__init__()
            self.at = at

    class Chosen(Moved):
        """`at` is the new context length."""

    def __init__(self) -> None:
        super().__init__()
        self._lengths: Lengths = ()
        self._longest = 0

    def show(self, lengths: Lengths, at: int) -> None:
        """`lengths`: (tokens, rows) pairs in order. `at`: position of the line in tokens."""
        self._lengths = lengths
        self._longest = lengths[-1][0] if lengths else 0
        self.set_reactive(LengthPlot.at, at)
        self.refresh()

    @property
    def step(self) -> int:
        """Tokens by which a key moves the line; lengths are multiples of it."""
        return 64 if self._longest > 512 else 16

    def render(self) -> Content:
        width, height = self.size.width, self.size.height - 2
        if not self._lengths or width < 10 or height < 1:
            return Content(_("No lengths yet."))
        top = max(LOWEST, round(self._longest * AXIS_ROOM))
        counts = columns(self._lengths, top, width)
        most = max(counts)
        line = min(width - 1, self.at * width // (top + 1))
        beyond = self.at > top
        label = ("◂ {at} ▸" if self.has_focus else "{at}").format(at=self.at) + (" →" if beyond else "")
        start = min(max(0, line - len(label) // 2), width - len(label))
        parts: list[tuple[str, str]] = [(" " * start + label + "\n", "bold $text-accent")]
        for level in range(height - 1, -1, -1):
            for place, rows in enumerate(counts):
                filled = -(-rows * height * 8 // most) if rows else 0
                sign = BLOCKS[max(0, min(8, filled - level * 8))]
                if place == line and not beyond:
                    parts.append(("│", "bold $text-accent"))
                else:
                    parts.append((sign, "$text-error" if place > line else "$text-primary"))
            parts.append(("\n", ""))
        end = _("{count} tokens").format(count=top)
        longest = _("longest: {count}").format(count=self._longest)
        room = max(1, width - len(end) - 1)
        parts.append(("0  " + longest.ljust(room)[: max(0, room - 2)] + end, "$text-muted"))
        return Content.assemble(*parts)

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def watch_at(self) -> None:
        self.post_message(self.Moved(self.at))

    def action_move(self, by: int) -> None:
        here = self.at / self.step
        whole = int(here) + by if by > 0 or here == int(here) else int(here) + by + 1
        # Far past the longest row, the first key jumps back to where something changes.
        if by < 0 and self.at > self._longest * AXIS_ROOM + self.step:
            whole = -(-self._longest // self.step)
        self.at = min(HIGHEST, max(LOWEST, whole * self.step))

    def action_hold(self, share: float) -> None:
        self.at = min(HIGHEST, max(LOWEST, -(-length_covering(self._lengths, share) // self.step) * self.step))

    def action_take(self) -> None:
        self.post_message(self.Chosen(self.at))
