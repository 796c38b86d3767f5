"""Attaching to a run: a very long one, and from two terminals at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.screen import ModalScreen

from engine.client.launch import new_run
from engine.runs.folder import RunFolder
from engine.runs.run_list import is_alive
from tests.bench.attach import inside, long_run
from tests.helpers import fake_run
from tests.helpers.fake_run import FakeMonitor, screen_text
from tests.helpers.waiting import on_screen, until, wait_for
from tui.app import LorisApp
from tui.screens.live import LiveScreen
from tui.state.run_session import LINE_CHARS

FAKE_ENGINE = Path(__file__).parents[1] / "helpers" / "scripts" / "fake_engine.py"


async def test_two_hundred_thousand_steps_are_painted_at_once() -> None:
    folder = long_run(200_000)
    assert await inside(folder) < 6  # 0.7 s on an idle machine: tests/bench/attach.py limits it to 1.5


async def test_a_line_without_an_end_is_cut() -> None:
    """Five thousand lines of a megabyte each, such as dumps of a tensor, would fill the memory."""
    backend = fake_run.FakeBackend()
    app = fake_run.app_on("live", backend, fake_run.training(), ["x" * 1_000_000])
    assert app.session.log[-1] == "x" * LINE_CHARS


async def test_a_pending_read_is_dropped_with_its_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that answers while the screen closes, after its widgets are gone."""
    app = fake_run.app_on("live", fake_run.FakeBackend(), fake_run.training())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        screen, answered = app.screen, threading.Event()
        assert isinstance(screen, LiveScreen)
        monkeypatch.setattr(screen._monitor, "read", lambda: answered.wait(10))
        screen._read_hardware()
        looks = [worker for worker in app.workers if worker.node is screen]
        assert looks
        app.go("home")
        assert all(worker.is_cancelled for worker in looks)
        answered.set()
        await pilot.pause()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    """A fake engine that trains until it is asked to stop."""
    monkeypatch.setattr(LiveScreen, "make_monitor", FakeMonitor)
    folder = new_run(fake_run.SPEC)
    env = {**os.environ, "FAKE_PLAY": "until_stop"}
    process = subprocess.Popen([sys.executable, str(FAKE_ENGINE), str(folder.path)], env=env)
    wait_for(lambda: is_alive(folder) and folder.events.exists() and b'"Step"' in folder.events.read_bytes())
    yield folder
    process.kill()
    process.wait()


async def shows(pilot: Pilot[None], folder: RunFolder) -> LorisApp:
    app = pilot.app
    assert isinstance(app, LorisApp)
    await until(pilot, lambda: app._screen_name == "live" and "Training" in screen_text(app))
    assert app.session.folder == folder
    return app


async def test_two_terminals_watch_one_run_and_both_can_stop_it(engine: RunFolder) -> None:
    first, second = LorisApp(language="en", run=engine), LorisApp(language="en", run=engine)
    async with first.run_test(size=(80, 24)) as one, second.run_test(size=(80, 24)) as two:
        await shows(one, engine)
        await shows(two, engine)
        for pilot in (one, two):
            await pilot.press("x")
            await on_screen(pilot, ModalScreen)
        for pilot in (one, two):
            await pilot.press("right", "enter")
        await until(one, lambda: first.session.state.ended is not None or first.session.state.trained)
        await until(two, lambda: second.session.state.ended is not None or second.session.state.trained)
        assert list(first.session.state.loss.values) == list(second.session.state.loss.values)
        assert first.session.state.finished is not None
        assert first.session.state.finished.outcome == "stopped"
