"""A curve in bounded memory: a plot of a long series still shows the same."""

from __future__ import annotations

import math
from array import array
from itertools import pairwise

import pytest

from engine.protocol.curve import MAX_POINTS, Curve, extend_smoothed, smoothing_weight

LONG = 300_000


def noisy(step: int) -> float:
    return 2 + math.exp(-step / 20_000) + (step * 7919 % 1000) / 1000


@pytest.fixture(scope="module")
def long() -> Curve:
    curve = Curve()
    curve.set_total_steps(LONG)
    for step in range(1, LONG + 1):
        curve.add(step, 9.0 if step == 123_456 else noisy(step))
    return curve


def test_a_short_curve_is_exact() -> None:
    curve = Curve()
    for step in range(1, MAX_POINTS + 1):
        curve.add(step, noisy(step))
    assert list(curve.steps) == list(range(1, MAX_POINTS + 1))
    assert list(curve.values) == [noisy(step) for step in range(1, MAX_POINTS + 1)]
    expected = array("d")
    extend_smoothed(curve.values, expected, curve.weight)
    assert list(curve.smooth) == pytest.approx(list(expected), abs=1e-12)


def test_a_long_curve_stays_small_with_its_extremes_and_its_last_point(long: Curve) -> None:
    assert MAX_POINTS / 8 < len(long) <= MAX_POINTS
    assert len(long.steps) == len(long.values) == len(long.smooth)
    assert (long.steps[-1], long.values[-1]) == (LONG, noisy(LONG))
    assert (max(long.values), long.steps[long.values.index(9.0)]) == (9.0, 123_456)
    assert all(one < other for one, other in pairwise(long.steps))
    widest = max(other - one for one, other in pairwise(long.steps))
    assert widest <= 2 * long.stride < LONG / 400  # the same resolution at the start as at the end


def test_each_stretch_keeps_its_lowest_and_highest_value(long: Curve) -> None:
    start = 50_000 // long.stride * long.stride
    values = [noisy(step) for step in range(start, start + long.stride)]
    kept = [v for s, v in zip(long.steps, long.values, strict=True) if start <= s < start + long.stride]
    assert {min(values), max(values)} <= set(kept)
    assert len(kept) <= 4


def test_the_smoothed_values_are_those_of_all_steps(long: Curve) -> None:
    expected = array("d")
    all_values = array("d", [9.0 if step == 123_456 else noisy(step) for step in range(1, LONG + 1)])
    extend_smoothed(all_values, expected, smoothing_weight(LONG))
    for step, smooth in zip(long.steps, long.smooth, strict=True):
        assert smooth == pytest.approx(expected[int(step) - 1], abs=1e-9)


def test_a_resumed_long_curve_continues_from_the_checkpoint() -> None:
    curve = Curve()
    for step in range(1, 100_001):
        curve.add(step, 1.0)
    curve.add(60_001, 5.0)
    assert curve.steps[-1] == 60_001
    assert curve.steps[-2] > 60_000 - 2 * curve.stride
    assert max(curve.values) == curve.values[-1] == 5.0
    for step in range(60_002, 160_001):
        curve.add(step, 2.0)
    assert len(curve) <= MAX_POINTS
    assert max(curve.values) == 5.0


def test_the_length_of_the_run_decides_how_far_the_average_reaches() -> None:
    curve, known = Curve(), Curve()
    known.set_total_steps(400)
    for step in range(1, 100):
        curve.add(step, noisy(step))
        known.add(step, noisy(step))
    assert curve.smooth != known.smooth
    curve.set_total_steps(400)
    assert list(curve.smooth) == pytest.approx(list(known.smooth))


def test_a_resumed_run_replaces_the_steps_after_its_checkpoint():
    curve = Curve()
    for step, value in ((1, 5.0), (2, 4.0), (3, 3.0), (2, 4.5), (3, 3.5)):
        curve.add(step, value)
    assert list(zip(curve.steps, curve.values, strict=True)) == [(1, 5.0), (2, 4.5), (3, 3.5)]


def test_average_begins_at_the_first_value_and_can_be_extended() -> None:
    expected = array("d")
    extend_smoothed([4.0, 2.0, 3.0, 1.0], expected, 0.9)
    assert expected[0] == pytest.approx(4.0)
    extended = array("d")
    extend_smoothed([4.0, 2.0], extended, 0.9)
    extend_smoothed([4.0, 2.0, 3.0, 1.0], extended, 0.9)
    assert list(extended) == pytest.approx(list(expected))
    extend_smoothed([4.0], extended, 0.9)
    assert list(extended) == pytest.approx([4.0])
