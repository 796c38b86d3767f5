"""The arithmetic of a curve: columns, frame, ticks."""

from __future__ import annotations

import math
from array import array

import pytest

from tui.plots.curve_canvas import (
    Canvas,
    Frame,
    Series,
    by_column,
    draw_line,
    draw_points,
    frame_of,
    nice_step,
    shown_steps,
)


def series(values: list[float]) -> Series:
    return Series(array("d", range(1, len(values) + 1)), array("d", values))


def test_every_point_falls_into_one_column() -> None:
    points = series([float(i) for i in range(1000)])
    columns = by_column(points, Frame(0, 1, 1000), 80)
    assert sum(len(values) for _column, values in columns) == 1000
    assert [column for column, _values in columns] == sorted({column for column, _values in columns})
    assert columns[-1][0] == 79


def test_a_single_wild_step_does_not_flatten_the_rest() -> None:
    values = [1.0 + 0.1 * math.sin(i) for i in range(500)]
    values[3] = 90.0
    frame = frame_of(series(values), series(values), series([]), 500)
    assert frame.high < 3


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [2.0, 2.0, 2.0], [1e-9, 2e-9], [1e6, 2e6], [-1.0, 1.0]])
def test_any_values_have_a_frame(values: list[float]) -> None:
    frame = frame_of(series(values), series(values), series([]), len(values))
    assert frame.low < frame.high
    assert frame.low <= min(values)
    assert max(values) <= frame.high
    canvas = Canvas(10, 4, braille=True)
    draw_points(canvas, series(values), frame)
    draw_line(canvas, series(values), frame)
    assert any(ink for row in canvas.rows() for _char, ink in row)


def test_ticks_are_round() -> None:
    assert [nice_step(extent, 5) for extent in (0.9, 1, 4, 60, 2000)] == [0.2, 0.2, 1, 20, 500]


def test_step_axis_grows_by_doubling() -> None:
    reach = [shown_steps(step, 1000) for step in range(1, 1001)]
    assert reach == sorted(reach)
    assert len(set(reach)) < 10
    assert all(wide >= step for step, wide in enumerate(reach, 1))
    assert reach[-1] == 1000
    assert shown_steps(70, 60) >= 70  # a run that continues past its total
