"""The widgets of the run's screen by themselves: the curve's arithmetic, words for numbers, the machine."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Iterator

import msgspec
import pytest
from textual.app import App, ComposeResult

from engine.protocol.curve import Curve, smoothed
from engine.protocol.state import RunState, fold
from tests.helpers import fake_run
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
from tui.plots.loss_plot import LossPlot, has_unicode
from tui.state.hardware import Monitor
from tui.text import amounts
from tui.widgets.status_line import progress_of


def series(values: list[float]) -> Series:
    return Series(array("d", range(1, len(values) + 1)), array("d", values))


def curve(values: Iterator[float]) -> Curve:
    made = Curve()
    for step, value in enumerate(values, 1):
        made.add(step, value)
    return made


def test_average_begins_at_the_first_value_and_grows_without_starting_again() -> None:
    whole = array("d")
    smoothed([4.0, 2.0, 3.0, 1.0], whole, 0.9)
    assert whole[0] == pytest.approx(4.0)
    in_parts = array("d")
    smoothed([4.0, 2.0], in_parts, 0.9)
    smoothed([4.0, 2.0, 3.0, 1.0], in_parts, 0.9)
    assert list(in_parts) == pytest.approx(list(whole))
    smoothed([4.0], in_parts, 0.9)
    assert list(in_parts) == pytest.approx([4.0])


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


def test_levels_of_a_low_plot_stand_where_they_say() -> None:
    """The frame is rounded to finer steps than a low plot has room for: it may begin between two of its levels."""
    frame = frame_of(series([3.6, 5.4]), series([3.6, 5.4]), series([]), 10)
    levels, _gutter = LossPlot()._levels(frame, 6)
    assert {row: float(label) for row, label in levels.items()} == {
        frame.y(value, 6): value for value in (4.0, 5.0)
    }


def test_step_axis_grows_by_doubling() -> None:
    reach = [shown_steps(step, 1000) for step in range(1, 1001)]
    assert reach == sorted(reach)
    assert len(set(reach)) < 10
    assert all(wide >= step for step, wide in enumerate(reach, 1))
    assert reach[-1] == 1000
    assert shown_steps(70, 60) >= 70  # a run that goes on beyond what was said


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


def test_amounts_read_well() -> None:
    assert [amounts.size(n) for n in (0, 900, 2048, 97 * 1024**2, 6 * 1024**3)] == [
        "0 B", "900 B", "2.0 KB", "97.0 MB", "6.0 GB",
    ]  # fmt: skip
    assert [amounts.duration(n) for n in (0, 61, 3600 * 3 + 7 * 60 + 59)] == ["0:00", "1:01", "3:07:59"]
    assert [amounts.time_left(n) for n in (0.2, 42, 600, 3 * 3600 + 660)] == ["1 s", "42 s", "10 min", "3 h 11 min"]
    assert amounts.rate(0, 1) == amounts.rate(3, 0) == ""
    assert [amounts.count(n) for n in (12, 1500, 24_313_856, 3_212_749_824)] == ["12", "1.5 k", "24.3 M", "3.21 B"]


def test_status_has_words_for_every_stage() -> None:
    from engine.protocol.events import StageChanged

    for stage in ("starting", "loading", "ready", "preparing", "training", "saving", "serving", "exporting"):
        state = fold([*fake_run.loading(), StageChanged(stage=stage)])  # type: ignore[arg-type]
        assert progress_of(state, True, 0).words
        assert progress_of(state, False, 0).words == "The engine is gone"
    assert progress_of(RunState(), True, 0).words.startswith("Starting")
    assert progress_of(fold(fake_run.failed()), False, 0).words == "Failed"


def test_the_time_does_not_jump_back_at_the_end() -> None:
    """A run that began again from its first step: the engine that finished knows of its own part alone."""
    events = [
        msgspec.structs.replace(event, elapsed=10.0 * number)  # each engine counts from its own start
        for engine in (fake_run.training(), fake_run.finished())
        for number, event in enumerate(engine)
    ]
    state = fold(events)
    assert state.finished is not None
    assert state.clock.training_seconds > state.finished.seconds
    assert f"time {amounts.duration(state.clock.training_seconds)}" in progress_of(state, True, 0).facts


def test_this_machine_can_be_read() -> None:
    machine = Monitor().read()
    assert machine.ram_total_bytes > machine.ram_used_bytes > 0
    assert all(gpu.total_bytes > 0 for gpu in machine.gpus)


def test_answers_at_checkpoints_stand_between_before_and_after() -> None:
    from engine.protocol import events as ev
    from engine.protocol.state import fold
    from tui.widgets.facts import answer_parts

    def answered(text: str, adapter: bool, step: int | None = None) -> ev.Answered:
        return ev.Answered(
            prompt="Who?", answer=text, adapter=adapter, tokens=3, seconds=1, finish_reason="eos", step=step
        )

    state = fold([
        answered("base", False), answered("at forty\nlines", True, 40), answered("at 120", True, 120),
        answered("final", True),
    ])  # fmt: skip
    text = "".join(part[0] for part in answer_parts(state))
    places = [text.index(words) for words in ("base", "step  40 │ at forty lines", "step 120 │ at 120", "final")]
    assert places == sorted(places)
    assert text.count("after") == 1
