"""The terminal rings once when training ends, unless that is turned off."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.client.launch import new_run
from engine.client.stop import stop
from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from engine.runs.run_list import is_alive
from tests.bench.terminal import loris
from tests.helpers import fake_run
from tests.helpers.fake_run import FakeBackend, app_on
from tests.helpers.pty_terminal import Terminal
from tests.helpers.waiting import shown, until, wait_for
from tui.app import LorisApp
from tui.state.settings import load_settings

FAKE_ENGINE = Path(__file__).parents[1] / "helpers" / "scripts" / "fake_engine.py"
BELL = b"\x07"


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(LorisApp, "bell", lambda self: found.append("bell"))
    return found


@pytest.mark.parametrize("end", ["finished", "failed", "killed"])
async def test_it_rings_once_at_each_end(rung: list[str], end: str) -> None:
    backend = FakeBackend()
    app = app_on("live", backend, fake_run.training())
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "Training")
        await until(pilot, lambda: not app._end_bell._over)  # it was seen running
        assert rung == []
        if end == "killed":
            backend.alive = False
        else:
            backend.feed(fake_run.finished()[-5:] if end == "finished" else fake_run.failed()[-2:])
        await until(pilot, lambda: rung == ["bell"])
        backend.feed([ev.EngineEnded(exit_code=0)])
        await until(pilot, lambda: app.session.state.ended is not None)
        await pilot.pause(0.3)  # another poll
        assert rung == ["bell"]


async def test_a_run_that_was_over_when_opened_does_not_ring(rung: list[str]) -> None:
    backend = FakeBackend()
    app = app_on("live", backend, fake_run.training())
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "Training")
        await until(pilot, lambda: not app._end_bell._over)
        app.session.attach(RunFolder(Path("/another/run")), fake_run.SPEC)
        backend.feed(fake_run.finished())
        await shown(pilot, "Training is complete.")
        await pilot.pause(0.3)
        assert rung == []


async def test_it_can_be_turned_off(rung: list[str]) -> None:
    backend = FakeBackend()
    app = app_on("live", backend, fake_run.training())
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shown(pilot, "Training")
        await pilot.press("ctrl+p")
        await until(pilot, lambda: len(app.screen_stack) > 2)
        await pilot.press(*"bell")
        await shown(pilot, "settings: bell")
        await pilot.press("enter")
        await shown(pilot, "The terminal no longer rings.")
        assert load_settings().bell is False
        await until(pilot, lambda: not app._end_bell._over)
        backend.feed(fake_run.finished()[-5:])
        await shown(pilot, "Training is complete.")
        await pilot.pause(0.3)
        assert rung == []


def test_a_real_terminal_hears_it() -> None:
    """The installed command in a pty, with a fake engine that is stopped from elsewhere."""
    folder = new_run(fake_run.SPEC)
    env = {**os.environ, "FAKE_PLAY": "until_stop"}
    process = subprocess.Popen([sys.executable, str(FAKE_ENGINE), str(folder.path)], env=env)
    terminal = None
    try:
        wait_for(lambda: is_alive(folder) and folder.events.exists() and b'"Step"' in folder.events.read_bytes())
        terminal = Terminal(loris("attach", folder.name))
        terminal.wait_for(b"Training")
        assert BELL not in terminal.read(1.0)  # not before: setting the terminal's title ends in one too
        asyncio.run(stop(folder, "save", lambda phase: None))
        terminal.wait_for(BELL)
    finally:
        if terminal:
            terminal.close()
        process.kill()
        process.wait()
