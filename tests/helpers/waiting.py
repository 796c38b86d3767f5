"""Waits for conditions and screens: machines that run tests may be slow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from textual.pilot import Pilot
from textual.screen import Screen

from tests.helpers.fake_run import screen_text

TIMEOUT_SECONDS = 60.0  # four processes share two cores, and only a failure waits so long
S = TypeVar("S", bound=Screen[Any])


def wait_for(condition: Callable[[], object], seconds: float = TIMEOUT_SECONDS, what: object = "") -> None:
    """Wait for a condition outside of this process. Fails with `what`, called if callable."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what() if callable(what) else what
        time.sleep(0.05)


async def until(
    pilot: Pilot[Any], condition: Callable[[], object], seconds: float = TIMEOUT_SECONDS, what: object = ""
) -> None:
    """Wait until a condition is true and its effects are drawn. Fails with the actual screen."""
    end = time.monotonic() + seconds
    while True:
        await pilot.pause(0.02)
        if condition():
            await pilot.pause(0.05)
            return
        assert time.monotonic() < end, f"{what} not in:\n{screen_text(pilot.app)}"


async def still(pilot: Pilot[Any], seconds: float = 0.3) -> None:
    """Wait until the screen has not changed for so long."""
    before, since = "", time.monotonic()
    end = since + TIMEOUT_SECONDS
    while time.monotonic() - since < seconds:
        assert time.monotonic() < end, f"it never stands still:\n{before}"
        await pilot.pause(0.05)
        if (now := screen_text(pilot.app)) != before:
            before, since = now, time.monotonic()


async def shown(pilot: Pilot[Any], *texts: str, seconds: float = TIMEOUT_SECONDS) -> str:
    """Wait until the screen shows all of these texts; returns its text."""
    await until(pilot, lambda: all(one in screen_text(pilot.app) for one in texts), seconds, texts)
    return screen_text(pilot.app)


async def on_screen(pilot: Pilot[Any], kind: type[S]) -> S:
    """Wait until a screen of this kind is on top, and drawn."""
    await until(pilot, lambda: isinstance(pilot.app.screen, kind), what=kind.__name__)
    assert isinstance(pilot.app.screen, kind)
    return pilot.app.screen
