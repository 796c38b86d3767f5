"""Pictures of the runs on Home and of their comparison, in both languages and sizes."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from engine.runs.lock_file import acquire_lock
from tests.helpers import fake_run
from tests.helpers.fake_run import START, FakeBackend
from tests.helpers.runs_on_home import made, slower
from tests.helpers.waiting import shown, still, until
from tui.app import LorisApp
from tui.screens.home import HomeScreen
from tui.state.settings import Settings, save_settings

pytestmark = [
    pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=["80x24", "120x36"]),
    pytest.mark.parametrize("language", ["en", "zh"]),
]
Compare = Callable[..., bool]
Size = tuple[int, int]


@pytest.fixture
def runs(home: object) -> Iterator[tuple[RunFolder, ...]]:
    """Five runs: an active one, and one of each kind of end."""
    save_settings(Settings(price_per_hour=36.0, currency="USD"))
    first = made("rate 2e-4", [*fake_run.finished(), ev.EngineEnded(exit_code=0)], learning_rate=2e-4)
    second = made("rate 2e-5", slower(fake_run.training(45)), START + 9000, learning_rate=2e-5, max_steps=80)
    third = made("out of memory", fake_run.failed(), START + 18000, per_device_train_batch_size=8)
    fourth = made("short", [*fake_run.finished("stopped", 30), ev.EngineEnded(exit_code=0)], START + 27000)
    live = made("in progress", fake_run.training(20), START + 36000, max_steps=90)
    lock = acquire_lock(live.lock)
    yield first, second, third, fourth, live
    os.close(lock)


def opened(runs: tuple[RunFolder, ...], language: str) -> LorisApp:
    app = LorisApp(backend=FakeBackend(alive=False), language=language)
    app.compared = runs[:2]
    return app


def at(title: str, *keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def before(pilot: Pilot[Any]) -> None:
        app = pilot.app
        assert isinstance(app, LorisApp)
        await until(pilot, lambda: isinstance(app.screen, HomeScreen))
        screen = app.screen
        assert isinstance(screen, HomeScreen)
        await until(pilot, lambda: any(one.run and one.run.title == title for one in screen._entries.values()))
        while (run := screen.chosen_run()) is None or run.title != title:
            await pilot.press("down")
            await pilot.pause()
        await pilot.press(*keys)
        await still(pilot)

    return before


def test_history(snap_compare: Compare, size: Size, language: str, runs: tuple[RunFolder, ...]) -> None:
    app = opened(runs, language)
    assert snap_compare(app, terminal_size=size, run_before=at("rate 2e-4", "space"))


def test_manage(snap_compare: Compare, size: Size, language: str, runs: tuple[RunFolder, ...]) -> None:
    app = opened(runs, language)
    assert snap_compare(app, terminal_size=size, run_before=at("rate 2e-5", "m"))


def test_compare(snap_compare: Compare, size: Size, language: str, runs: tuple[RunFolder, ...]) -> None:
    app = opened(runs, language)
    app._start = "compare"  # type: ignore[assignment]

    async def before(pilot: Pilot[Any]) -> None:
        await shown(pilot, "learning_rate")
        await still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=before)


def test_price(snap_compare: Compare, size: Size, language: str, runs: tuple[RunFolder, ...]) -> None:
    app = opened(runs, language)
    assert snap_compare(app, terminal_size=size, run_before=at("rate 2e-4", "p"))
