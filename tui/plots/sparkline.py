"""A curve on one line of text."""

import math

from engine.protocol.curve import Curve
from tui.plots.curve_canvas import Frame, Series, by_column

_BLOCKS, _PLAIN = "▁▂▃▄▅▆▇█", "_.-=^"


def sparkline(curve: Curve, width: int, unicode: bool = True) -> str:
    """The smoothed curve in `width` cells: the mean of each column, between its lowest and highest value."""
    values = [value for value in curve.smooth if math.isfinite(value)]
    if not values:
        return ""
    low, high = min(values), max(values)
    levels = _BLOCKS if unicode else _PLAIN
    frame = Frame(low, high, max(1.0, curve.steps[-1]))
    cells = [" "] * width
    for column, found in by_column(Series(curve.steps, curve.smooth), frame, width):
        mean = math.fsum(found) / len(found)
        share = (mean - low) / (high - low) if high > low else 0.0
        cells[column] = levels[min(len(levels) - 1, int(share * len(levels)))] if math.isfinite(share) else " "
    return "".join(cells).rstrip()
