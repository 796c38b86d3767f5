"""A series of logged values and their smoothed curve, in bounded memory however long the run is. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

MAX_POINTS = 1 << 14  # about 30 per dot column of a wide terminal; 24 bytes each
START_POINTS = 1000  # from here on, the bias correction of the average is below the precision of a float


def smoothing_weight(total_steps: int) -> float:
    """The weight of the past in the average: less for short runs, or it would lag far behind a falling loss."""
    return 1 - 1 / min(20.0, max(3.0, total_steps / 20))


def extend_smoothed(values: Sequence[float], so_far: array[float], weight: float) -> None:
    """Extend `so_far` to the exponential average of `values`, without recomputing what it already has.

    The average is bias-corrected, so that it begins at the first value and not at zero.
    """
    del so_far[len(values) :]
    done = len(so_far)
    raw = so_far[-1] * (1 - weight**done) if done else 0.0
    for number in range(done, len(values)):
        raw = weight * raw + (1 - weight) * values[number]
        so_far.append(raw / (1 - weight ** (number + 1)))


@dataclass
class Curve:
    """A series of (step, value, smoothed value), as arrays of floats.

    Up to `MAX_POINTS` all points are kept. Of a longer series each stretch of `stride` steps keeps its lowest and
    its highest point, and the last point is always kept: the plot looks the same.
    """

    steps: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))
    smooth: array[float] = field(default_factory=lambda: array("d"))
    stride: int = 1
    weight: float = smoothing_weight(0)
    _thinned: int = 0  # points before this one have been thinned out by `stride`

    def set_total_steps(self, total_steps: int) -> None:
        """Set the planned number of steps, which decides how far the average reaches back."""
        weight = smoothing_weight(total_steps)
        if weight != self.weight:
            self.weight = weight
            if self.stride == 1:  # else nearly all runs of that length have the same weight
                del self.smooth[:]
                extend_smoothed(self.values, self.smooth, weight)

    def add(self, step: float, value: float) -> None:
        """Append a point. A step that was logged before, as after a resume, replaces all points from it on."""
        steps, smooth = self.steps, self.smooth
        while steps and steps[-1] >= step:
            del steps[-1], self.values[-1], smooth[-1]
        steps.append(step)
        self.values.append(value)
        if len(smooth) < START_POINTS:
            extend_smoothed(self.values, smooth, self.weight)
        else:
            smooth.append(self.weight * smooth[-1] + (1 - self.weight) * value)
        if len(steps) > MAX_POINTS:
            self._thin()

    def _thin(self) -> None:
        """Keep the extremes of each stretch; make stretches longer if that leaves more than half of the points."""
        done = min(self._thinned, len(self.steps))
        self._keep([*range(done), *self._extremes(done)])
        if len(self.steps) > MAX_POINTS // 2:
            span = self.steps[-1] - self.steps[0]
            self.stride *= 2
            while self.stride < span / (MAX_POINTS // 4):
                self.stride *= 2  # so that each old stretch is inside one new stretch
            self._keep(self._extremes(0))
        self._thinned = len(self.steps) - 1  # more points may follow in its stretch

    def _extremes(self, start: int) -> list[int]:
        """The indices of the lowest and highest value of each stretch, from `start` on; and the last index."""
        last = len(self.steps) - 1
        kept: list[int] = []
        for _stretch, group in groupby(range(start, last), key=lambda number: self.steps[number] // self.stride):
            numbers = list(group)
            values = self.values[numbers[0] : numbers[-1] + 1]
            kept += sorted({numbers[values.index(min(values))], numbers[values.index(max(values))]})
        return [*kept, last]

    def _keep(self, numbers: list[int]) -> None:
        """Drop all points but these."""
        for name in ("steps", "values", "smooth"):
            setattr(self, name, array("d", map(getattr(self, name).__getitem__, numbers)))

    def __len__(self) -> int:
        return len(self.steps)
