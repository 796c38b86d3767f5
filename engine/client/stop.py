"""Stops a run for good: asks, waits while the engine shows signs of life, and ends it when it shows none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from engine.client.connection import CommandRefused, Connection, EngineGone
from engine.messages.errors import UserError
from engine.protocol.commands import Shutdown, Stop, StopMode
from engine.runs import lock_owner
from engine.runs.folder import RunFolder
from engine.runs.run_list import is_alive

GRACE_SECONDS: dict[StopMode, float] = {"save": 120.0, "now": 15.0, "discard": 15.0}
POLL_SECONDS = 0.2
ASK_SECONDS = 5.0  # for an engine to answer that it heard
FROZEN_SECONDS = 2.0  # a process that is held up by a signal cannot save anything, however long one waits

# What goes on: the engine was asked, it does not move, it is told to end at once, it is ended by force.
Phase = Literal["asked", "frozen", "silent", "now", "force"]
Tell = Callable[[Phase], None]


async def stop(folder: RunFolder, mode: StopMode, tell: Tell, grace: float | None = None) -> lock_owner.Survived:
    """Stop the run and end its engine; returns what is whole on disk afterwards.

    `grace`: seconds without a sign of life (an event, a line of log) before the next, stronger step is taken.
    """
    patience = GRACE_SECONDS[mode] if grace is None else grace
    tell("asked")
    if not await _ask(folder, mode):
        await _wait(folder, patience, tell)
    elif await _wait(folder, patience, tell):
        pass
    elif mode == "save":
        tell("now")
        await _ask(folder, "now")
        await _wait(folder, min(patience, GRACE_SECONDS["now"]), tell)
    if is_alive(folder):
        tell("force")
        return await asyncio.to_thread(lock_owner.end, folder)
    return await asyncio.to_thread(lock_owner.survived, folder)


async def _ask(folder: RunFolder, mode: StopMode) -> bool:
    """Tell the engine to stop, and to end after that; whether it heard it."""
    with suppress(UserError, OSError, TimeoutError):
        async with asyncio.timeout(ASK_SECONDS), Connection.connect(folder, 1.0) as control:
            with suppress(CommandRefused):  # it trains no more: then ending it is all that is left to ask
                await control.ask(Stop(id=0, mode=mode))
            with suppress(EngineGone):
                await control.ask(Shutdown(id=0))
            return True
    return False


async def _wait(folder: RunFolder, grace: float, tell: Tell) -> bool:
    """Wait until the engine is gone; False once it has shown no sign of life for `grace` seconds."""
    signs, since = _signs(folder), time.monotonic()
    frozen_since: float | None = None
    while is_alive(folder):
        await asyncio.sleep(POLL_SECONDS)
        now = time.monotonic()
        if (seen := _signs(folder)) != signs:
            signs, since = seen, now
        if not lock_owner.is_frozen(folder):
            frozen_since = None
        elif frozen_since is None:
            frozen_since = now
        if frozen_since is not None and now - frozen_since >= min(FROZEN_SECONDS, grace):
            tell("frozen")
            return False
        if now - since >= grace:
            tell("silent")
            return False
    return True


def _signs(folder: RunFolder) -> tuple[int, ...]:
    sizes = []
    for path in (folder.events, folder.log):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return tuple(sizes)
