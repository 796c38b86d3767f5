"""The loss curves of several runs in one plot. Each has a letter, to be recognised without colour."""

from collections.abc import Sequence
from typing import ClassVar

from engine.protocol.curve import Curve
from tui.plots.curve_canvas import CURVE_INKS, Canvas, Frame, Series, by_column, draw_line, frame_of
from tui.plots.loss_plot import LossPlot, Row, as_text, smoothed

LETTERS = "ABCDEF"
BETWEEN_LETTERS = 18  # cells after which a curve repeats its letter


class OverlayPlot(LossPlot):
    """Set up to six curves with `show_curves`."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"loss-plot--{ink}" for ink in CURVE_INKS}
    DEFAULT_CSS = """
    OverlayPlot {
        & .loss-plot--curve0 { color: $success; text-style: bold; }
        & .loss-plot--curve1 { color: $warning; text-style: bold; }
        & .loss-plot--curve2 { color: $accent; text-style: bold; }
        & .loss-plot--curve3 { color: $error; text-style: bold; }
        & .loss-plot--curve4 { color: $primary; text-style: bold; }
        & .loss-plot--curve5 { color: $foreground; text-style: bold; }
    }
    """
    curves: Sequence[Curve] = ()

    def show_curves(self, curves: Sequence[Curve], name: str = "") -> None:
        """Draw these curves, smoothed. `name`: of the metric, if they are not losses."""
        self.curves, self._metric = curves, name
        self._update()

    def _picture(self, width: int, height: int) -> list[Row]:
        series = [Series(curve.steps, curve.smooth) for curve in self.curves]
        drawn = [one for one in series if len(one.steps)]
        if not drawn:
            return self._empty(width, height)
        none = Series((), ())
        frames = [frame_of(one, one, none, one.steps[-1]) for one in drawn]
        frame = Frame(
            min(one.low for one in frames),
            max(one.high for one in frames),
            max(one.last_step for one in frames),
        )
        ticks, gutter = self._levels(frame, height - 2)
        canvas = Canvas(max(1, width - gutter), max(1, height - 2), self.braille)
        for number, one in enumerate(series):
            draw_line(canvas, one, frame, CURVE_INKS[number], LETTERS[number].lower())
        for number, one in enumerate(series):
            self._put_letters(canvas, one, frame, number)
        legend = as_text([("  " + smoothed(self._metric), "axis")], width)
        return [legend, *self._with_axes(canvas, ticks, frame, gutter, width)][:height]

    def _put_letters(self, canvas: Canvas, series: Series, frame: Frame, number: int) -> None:
        """Put the curve's letter along it and at its end, in other columns than other curves' letters."""
        width, height = canvas.dots
        scale = 2 if canvas.braille else 1
        next_at = (2 + number * BETWEEN_LETTERS // len(LETTERS)) * scale
        columns = by_column(series, frame, width)
        for place, (column, values) in enumerate(columns):
            if column >= next_at or place == len(columns) - 1:
                middle = sum(values) / len(values)
                canvas.mark(column, frame.y(middle, height), CURVE_INKS[number], LETTERS[number])
                next_at = column + BETWEEN_LETTERS * scale
