"""Waiting for what a screen comes to: machines that run tests may be slow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot

from tests.helpers.fake_run import screen_text


async def until(pilot: Pilot[Any], holds: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is so, and what follows from it is drawn. Fails with what the screen shows instead."""
    end = time.monotonic() + seconds
    while True:
        await pilot.pause(0.05)
        if holds():
            await pilot.pause(0.05)
            return
        assert time.monotonic() < end, screen_text(pilot.app)  # type: ignore[arg-type]
