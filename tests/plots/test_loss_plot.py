"""The loss plot: at any size, in plain ASCII, quickly."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Iterator

import pytest
from textual.app import App, ComposeResult

from engine.protocol.curve import Curve
from tests.helpers import fake_run
from tui.plots.curve_canvas import (
    Series,
    frame_of,
)
from tui.plots.loss_plot import LossPlot, has_unicode


def series(values: list[float]) -> Series:
    return Series(array("d", range(1, len(values) + 1)), array("d", values))


def curve(values: Iterator[float]) -> Curve:
    made = Curve()
    for step, value in enumerate(values, 1):
        made.add(step, value)
    return made


def test_levels_of_a_low_plot_are_at_their_values() -> None:
    """The frame is rounded to finer steps than a low plot shows: it may begin between two of its levels."""
    frame = frame_of(series([3.6, 5.4]), series([3.6, 5.4]), series([]), 10)
    levels, _gutter = LossPlot()._levels(frame, 6)
    assert {row: float(label) for row, label in levels.items()} == {
        frame.y(value, 6): value for value in (4.0, 5.0)
    }


class PlotApp(App[None]):
    def __init__(self, braille: bool) -> None:
        super().__init__()
        self._braille = braille

    def compose(self) -> ComposeResult:
        yield LossPlot(self._braille, id="plot")


@pytest.mark.parametrize("size", [(80, 24), (20, 6), (6, 3), (110, 24)])
@pytest.mark.parametrize("braille", [True, False])
async def test_plot_draws_at_any_size_and_in_plain_ascii(size: tuple[int, int], braille: bool) -> None:
    app = PlotApp(braille)
    async with app.run_test(size=size) as pilot:
        plot = app.query_one(LossPlot)
        plot.show(curve(fake_run.loss_at(i) for i in range(1, 61)), curve(iter([2.0])), 60)
        await pilot.pause()
        text = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
        if size[0] >= 20:
            assert ("*" in text) is not braille
        if not braille and size[1] > 3:  # below that, Textual adds scroll bars
            assert text.isascii()
        assert all(len(line) == size[0] for line in text.splitlines())


async def test_a_hundred_thousand_points_are_quick() -> None:
    app = PlotApp(True)
    async with app.run_test(size=(110, 24)) as pilot:
        plot = app.query_one(LossPlot)
        loss = curve(2 + math.sin(i / 999) for i in range(100_000))
        plot.show(loss, Curve(), 200_000)
        await pilot.pause()
        loss.add(100_001, 2.0)
        start = time.process_time()
        plot.show(loss, Curve(), 200_000)
        assert time.process_time() - start < 0.1


async def test_curve_with_a_restarted_tail_is_drawn_again() -> None:
    app = PlotApp(True)
    async with app.run_test(size=(80, 24)) as pilot:
        plot = app.query_one(LossPlot)
        loss = curve(float(i) for i in range(50))
        plot.show(loss, Curve(), 60)
        loss.add(20, 0.0)  # resumed from a checkpoint
        plot.show(loss, Curve(), 60)
        await pilot.pause()
        assert len(plot._loss.smooth) == 20


@pytest.mark.parametrize(
    ("locale", "unicode"),
    [({}, True), ({"LANG": "zh_CN.UTF-8"}, True), ({"LANG": "zh_CN.GBK"}, False), ({"LC_ALL": "C"}, False)],
)
def test_ascii_where_the_locale_is_not_utf8(
    locale: dict[str, str], unicode: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in locale.items():
        monkeypatch.setenv(name, value)
    assert has_unicode() is unicode
