"""Draws curves in characters: braille on Unicode terminals, else plain ASCII. Pure functions.

Not textual-plot, which repaints its whole area at each refresh (measured 17 KB/s over SSH at 110x24 and 1 Hz;
this one sends only changed cells, under 1 KB/s), imports numpy, and has no ASCII mode.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Ink = Literal[
    "", "raw", "smooth", "eval", "axis", "curve0", "curve1", "curve2", "curve3", "curve4", "curve5"
]  # fmt: skip
CURVE_INKS: tuple[Ink, ...] = ("curve0", "curve1", "curve2", "curve3", "curve4", "curve5")  # for several runs

# The bit of each dot in a braille cell, by [row][column].
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_RANK: dict[Ink, int] = {"": 0, "axis": 1, "raw": 2, "smooth": 3, "eval": 4, **dict.fromkeys(CURVE_INKS, 3)}


@dataclass(frozen=True)
class Series:
    """A curve: steps in ascending order and their values."""

    steps: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Frame:
    """The visible range of steps and values."""

    low: float
    high: float
    last_step: float

    def x(self, step: float, width: int) -> int:
        """The dot column of a step, in 0..width-1. Step 0 is the left edge."""
        return min(width - 1, max(0, int(step / self.last_step * (width - 1) + 0.5)))

    def y(self, value: float, height: int) -> int:
        """The dot row of a value, from the top; values outside are drawn at the edge."""
        share = (value - self.low) / (self.high - self.low)
        return min(height - 1, max(0, int((1 - share) * (height - 1) + 0.5)))


@dataclass
class Canvas:
    """A grid of cells, each with a character and an ink."""

    width: int
    height: int
    braille: bool
    bits: list[list[int]] = field(init=False)
    chars: list[list[str]] = field(init=False)
    inks: list[list[Ink]] = field(init=False)

    def __post_init__(self) -> None:
        self.bits = [[0] * self.width for _ in range(self.height)]
        self.chars = [[" "] * self.width for _ in range(self.height)]
        self.inks = [[""] * self.width for _ in range(self.height)]

    @property
    def dots(self) -> tuple[int, int]:
        """(columns, rows) of dots."""
        return (self.width * 2, self.height * 4) if self.braille else (self.width, self.height)

    def dot(self, x: int, y: int, ink: Ink, char: str) -> None:
        """Set a dot; `char` replaces it without braille."""
        if self.braille:
            column, row = x // 2, y // 4
            self.bits[row][column] |= _DOTS[y % 4][x % 2]
        else:
            column, row = x, y
        if _RANK[ink] >= _RANK[self.inks[row][column]]:
            self.inks[row][column] = ink
            if not self.braille:
                self.chars[row][column] = char

    def mark(self, x: int, y: int, ink: Ink, char: str) -> None:
        """Put a character at the position of a dot, over everything else."""
        column, row = (x // 2, y // 4) if self.braille else (x, y)
        self.bits[row][column] = 0
        self.chars[row][column] = char
        self.inks[row][column] = ink

    def rows(self) -> list[list[tuple[str, Ink]]]:
        """The cells, row by row."""
        return [
            [
                (chr(0x2800 + bits) if bits else char, ink)
                for bits, char, ink in zip(*columns, strict=True)
            ]
            for columns in zip(self.bits, self.chars, self.inks, strict=True)
        ]  # fmt: skip


def by_column(series: Series, frame: Frame, width: int) -> list[tuple[int, Sequence[float]]]:
    """The values of each dot column that has any. Slices, so that 100,000 points take milliseconds."""
    columns = []
    start = 0
    for column in range(width):
        if start >= len(series.steps):
            break
        # The first step that rounds to a later column.
        beyond = (column + 0.5) * frame.last_step / max(1, width - 1)
        end = bisect_left(series.steps, beyond, start)
        if column == width - 1:
            end = len(series.steps)
        if end > start:
            columns.append((column, series.values[start:end]))
        start = end
    return columns


def draw_points(canvas: Canvas, series: Series, frame: Frame) -> None:
    """The raw values: a dot for the lowest and the highest of each column."""
    width, height = canvas.dots
    for column, values in by_column(series, frame, width):
        for value in {min(values), max(values)}:
            canvas.dot(column, frame.y(value, height), "raw", ".")


def draw_line(canvas: Canvas, series: Series, frame: Frame, ink: Ink = "smooth", char: str = "*") -> None:
    """The smoothed curve: the mean of each column, joined by lines."""
    width, height = canvas.dots
    last: tuple[int, int] | None = None
    for column, values in by_column(series, frame, width):
        row = frame.y(math.fsum(values) / len(values), height)
        for x, y in _between(last, (column, row)):
            canvas.dot(x, y, ink, char)
        last = column, row


def draw_marks(canvas: Canvas, series: Series, frame: Frame) -> None:
    """The evaluations: one mark per column, at its last value."""
    width, height = canvas.dots
    for column, values in by_column(series, frame, width):
        canvas.mark(column, frame.y(values[-1], height), "eval", "◆" if canvas.braille else "E")


def _between(start: tuple[int, int] | None, end: tuple[int, int]) -> list[tuple[int, int]]:
    """The dots of a straight line, without its start."""
    if start is None:
        return [end]
    (x0, y0), (x1, y1) = start, end
    count = max(abs(x1 - x0), abs(y1 - y0), 1)
    return [(round(x0 + (x1 - x0) * i / count), round(y0 + (y1 - y0) * i / count)) for i in range(1, count + 1)]


def frame_of(loss: Series, smooth: Series, evaluated: Series, last_step: float) -> Frame:
    """The range to show: an outlier in the first steps does not flatten the rest."""
    values = [v for v in (*evaluated.values, *_spread(loss.values), *_spread(smooth.values)) if math.isfinite(v)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-9 + abs(high) * 1e-3:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    step = nice_step(high - low, 4)
    # Widened to round numbers, so that the frame is stable while values change a little.
    return Frame(math.floor(low / step) * step, math.ceil(high / step) * step, max(1.0, last_step))


def _spread(values: Sequence[float]) -> Sequence[float]:
    """The lowest and the highest; of many values, without the highest percent."""
    if len(values) < 100:
        return values
    # A sample is enough for the bounds and fast for a long run; it always includes the ends.
    sample = sorted(values[:: max(1, len(values) // 2000)])
    return sample[0], sample[int(len(sample) * 0.99) - 1], values[-1]


def nice_step(extent: float, count: int) -> float:
    """A round distance between ticks: 1, 2 or 5 times a power of ten, for about `count` of them."""
    rough = extent / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    return float(next(power * times for times in (1, 2, 5, 10) if power * times >= rough * 0.999))


def shown_steps(step: float, total: float) -> float:
    """The end of the step axis: the complete run, or a part of it while few steps are done.

    It doubles, so that the plot is redrawn completely a few times in a run, not at each step.
    """
    reach = max(total, step, 1.0)
    while reach / 2 >= step * 1.25 and reach > 10:
        reach /= 2
    return max(2.0, float(math.ceil(reach)))
