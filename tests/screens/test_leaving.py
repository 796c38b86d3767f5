"""Leaving Loris while a run is active: what is asked, and what happens to the run."""

from __future__ import annotations

import pytest

from engine.protocol import events as ev
from tests.helpers import fake_run
from tests.helpers.fake_run import FakeBackend, app_on, screen_text
from tests.helpers.waiting import on_screen, shown, until
from tui.dialogs.stop import QuitModal
from tui.screens.live import LiveScreen


@pytest.mark.parametrize(
    ("keys", "stopped"),
    [
        (("enter",), []),
        (("ctrl+q",), []),  # pressed twice: the run is kept
        (("down", "enter"), ["save"]),
        (("down", "down", "enter"), ["discard"]),
    ],
)
@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_leaving_asks_and_follows_the_answer(
    keys: tuple[str, ...], stopped: list[str], size: tuple[int, int]
) -> None:
    backend = FakeBackend()
    app = app_on("live", backend, fake_run.training())
    async with app.run_test(size=size) as pilot:
        await pilot.press("ctrl+q")
        await on_screen(pilot, QuitModal)
        assert "step 34/60" in screen_text(app)
        await pilot.press(*keys)
        await until(pilot, lambda: app._exit)
    assert app._exit
    assert backend.stopped == stopped
    assert backend.alive is (not stopped)


async def test_escape_stays() -> None:
    backend = FakeBackend()
    app = app_on("live", backend, fake_run.training())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+q")
        await on_screen(pilot, QuitModal)
        await pilot.press("escape")
        await on_screen(pilot, LiveScreen)
        assert not app._exit
        await pilot.press("ctrl+q")  # and it asks again
        await on_screen(pilot, QuitModal)


async def test_a_slow_stop_is_shown_and_can_be_left() -> None:
    backend = FakeBackend()
    app = app_on("live", backend, fake_run.training())
    async with app.run_test(size=(80, 24)) as pilot:
        backend.may_stop.clear()
        await pilot.press("ctrl+q")
        await on_screen(pilot, QuitModal)
        await pilot.press("down", "enter")
        await shown(pilot, "Stopping Who are you")
        assert "does not respond for 120 s" in screen_text(app)
        assert not app._exit
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app._exit)
    assert app._exit
    assert backend.stopped == ["save"]


@pytest.mark.parametrize("events", [fake_run.finished(), [*fake_run.training(), ev.EngineEnded(exit_code=0)]])
async def test_nothing_is_asked_about_an_ended_run(events: list[ev.AnyEvent]) -> None:
    app = app_on("live", FakeBackend(), events)
    async with app.run_test(size=(80, 24)) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app._exit)
    assert app._exit
