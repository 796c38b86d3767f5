"""The loss plot: logged values, smoothed curve and evaluations, with axes."""

import math
import os
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from engine.protocol.curve import Curve
from tui.plots.curve_canvas import (  # fmt: skip
    Canvas,
    Frame,
    Ink,
    Series,
    draw_line,
    draw_marks,
    draw_points,
    frame_of,
    nice_step,
    shown_steps,
)
from tui.text.translation import _

Row = list[tuple[str, Ink]]


def has_unicode() -> bool:
    """Whether to draw in braille: yes, unless the locale names another character set than UTF-8.

    Python cannot tell, because it treats C as UTF-8; on rented machines the locale is often not set at all,
    while the user's terminal is UTF-8.
    """
    for variable in ("LC_ALL", "LC_CTYPE", "LANG"):
        if value := os.environ.get(variable):
            return "utf" in value.lower()
    return True


class LossPlot(Widget):
    """Set the curves with `show`. Only changed cells are sent to the terminal."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "loss-plot--raw", "loss-plot--smooth", "loss-plot--eval", "loss-plot--axis",
    }  # fmt: skip
    DEFAULT_CSS = """
    LossPlot {
        width: 1fr;
        height: 1fr;
        min-height: 4;
        & .loss-plot--raw { color: $text-muted; }
        & .loss-plot--smooth { color: $success; text-style: bold; }
        & .loss-plot--eval { color: $warning; text-style: bold; }
        & .loss-plot--axis { color: $text-muted; }
    }
    """

    def __init__(self, braille: bool | None = None, id: str | None = None) -> None:
        super().__init__(id=id)
        self.braille = has_unicode() if braille is None else braille
        self._loss, self._eval, self._total = Curve(), Curve(), 0
        self._done, self._metric = False, ""
        self._rows: list[Row] = []

    def show(self, loss: Curve, evaluated: Curve, total_steps: int, done: bool = False, name: str = "") -> None:
        """Draw these curves. `total_steps` 0: not known yet. `done`: no more steps will come.

        `name`: of another metric that is drawn instead of the loss.
        """
        self._loss, self._eval, self._total, self._done, self._metric = loss, evaluated, total_steps, done, name
        self._update()

    def on_resize(self) -> None:
        self._rows = []
        self._update()

    def _update(self) -> None:
        """Compute the picture, and mark the lines that changed for painting."""
        width, height = self.size
        if not width or not height:
            return
        rows = self._picture(width, height)
        old, self._rows = self._rows, rows
        if len(old) != len(rows):
            self.refresh()
            return
        for y, (before, after) in enumerate(zip(old, rows, strict=True)):
            changed = [x for x, (was, now) in enumerate(zip(before, after, strict=False)) if was != now]
            if len(before) != len(after):
                self.refresh(Region(0, y, width, 1))
            elif changed:
                # One more cell at the end: a wide character must not be cut in half.
                self.refresh(Region(changed[0], y, min(width, changed[-1] + 2) - changed[0], 1))

    def _picture(self, width: int, height: int) -> list[Row]:
        if not len(self._loss):
            return self._empty(width, height)
        loss = Series(self._loss.steps, self._loss.values)
        smooth = Series(self._loss.steps, self._loss.smooth)
        evaluated = Series(self._eval.steps, self._eval.values)
        last = self._loss.steps[-1]
        frame = frame_of(loss, smooth, evaluated, last if self._done else shown_steps(last, self._total))
        ticks, gutter = self._levels(frame, height - 2)
        canvas = Canvas(max(1, width - gutter), max(1, height - 2), self.braille)
        draw_points(canvas, loss, frame)
        draw_line(canvas, smooth, frame)
        draw_marks(canvas, evaluated, frame)
        rows = [as_text(self._legend(), width), *self._with_axes(canvas, ticks, frame, gutter, width)]
        return rows[:height]

    def _empty(self, width: int, height: int) -> list[Row]:
        words = _("The loss curve appears here with the first steps.")
        rows = [as_text([], width) for _line in range(height)]
        rows[height // 2] = as_text([(words, "axis")], width, indent=max(0, (width - cell_len(words)) // 2))
        return rows

    def _legend(self) -> list[tuple[str, Ink]]:
        smooth, each, held_out = smoothed(self._metric), _("each step"), _("held-out rows")
        raw, line, mark = ("⠂", "━", "◆") if self.braille else (".", "*", "E")
        parts: list[tuple[str, Ink]] = [
            (f"{line} {smooth} {_number(self._loss.smooth[-1])}", "smooth"),
            (f"{raw} {each} {_number(self._loss.values[-1])}", "raw"),
        ]
        if len(self._eval):
            parts.append((f"{mark} {held_out} {_number(self._eval.values[-1])}", "eval"))
        return [part for one in parts for part in (("  ", ""), one)]

    def _with_axes(
        self, canvas: Canvas, ticks: dict[int, str], frame: Frame, gutter: int, width: int
    ) -> Iterator[Row]:
        """The canvas with the labels of `ticks` (by row) on its left, and the steps below."""
        for y, cells in enumerate(canvas.rows()):
            edge = "┤" if y in ticks else "│"
            label = f"{ticks.get(y, ''):>{gutter - 1}}{edge if self.braille else '|'}"
            yield [(char, "axis") for char in label] + cells
        yield self._steps_axis(frame, gutter, width)

    def _levels(self, frame: Frame, height: int) -> tuple[dict[int, str], int]:
        """({row: label} of the loss axis, width of the labels and the axis)."""
        step = nice_step(frame.high - frame.low, max(1, min(5, height // 2)))
        digits = max(0, -math.floor(math.log10(step))) if step < 1 else 0
        labels: dict[int, str] = {}
        # From the first visible round number: the frame may begin between two of them.
        for number in range(math.ceil(frame.low / step - 1e-6), math.floor(frame.high / step + 1e-6) + 1):
            value = number * step
            labels[frame.y(value, max(1, height))] = f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.1e}"
        return labels, max((len(label) for label in labels.values()), default=0) + 2

    def _steps_axis(self, frame: Frame, gutter: int, width: int) -> Row:
        """The step axis: as many numbers as fit, each below its column."""
        room = max(1, width - gutter)
        line = [" "] * width
        step = max(1, int(nice_step(frame.last_step, max(1, min(6, room // 10)))))
        free_from = gutter
        for number in range(0, int(frame.last_step) + 1, step):
            label = str(number)
            at = gutter + frame.x(number, room) - len(label) // 2
            at = min(max(at, gutter), width - len(label))
            if at >= free_from:
                line[at : at + len(label)] = list(label)
                free_from = at + len(label) + 1
        name = _cells(_("step"), "axis")
        cells = [cell for char in line for cell in _cells(char, "axis")]
        if len(name) < gutter:
            cells[gutter - 1 - len(name) : gutter - 1] = name
        return cells

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        style = self.rich_style
        if y >= len(self._rows):
            return Strip.blank(width, style)
        segments: list[Segment] = []
        for ink, cells in groupby(self._rows[y], key=itemgetter(1)):
            paint = self.get_component_rich_style(f"loss-plot--{ink}") if ink else style
            segments.append(Segment("".join(char for char, _ink in cells), paint))
        return Strip(segments).adjust_cell_length(width, style)


def smoothed(name: str) -> str:
    """The legend of a smoothed curve: of the loss, or of the metric named."""
    return _("{name}, smoothed").format(name=name) if name else _("loss, smoothed")


def as_text(parts: list[tuple[str, Ink]], width: int, indent: int = 0) -> Row:
    """A row of texts, padded with blanks."""
    blank: Row = [(" ", "")]
    row = blank * indent + [cell for text, ink in parts for cell in _cells(text, ink)]
    return (row + blank * (width - len(row)))[:width]


def _cells(text: str, ink: Ink) -> Row:
    """One tuple per cell: the second cell of a wide character is empty."""
    return [cell for char in text for cell in ((char, ink), *((("", ink),) * (cell_len(char) - 1)))]


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 10 else f"{value:.1f}"
