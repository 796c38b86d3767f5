"""Stops a run from outside: asks its engine, and ends one that does nothing any more after a stated grace."""

from __future__ import annotations

import asyncio
import time

from engine.client.control import Control
from engine.client.errors import CommandRefused, EngineGone
from engine.client.follow import Follower
from engine.client.holder import Survived, end, holder, survived
from engine.spec.commands import Command, Shutdown, Stop, StopMode
from engine.spec.folder import RunFolder
from engine.spec.state import RunState

GRACE_SECONDS = 60.0  # without a word from the engine, after which it counts as hung
POLL_SECONDS = 0.1


async def stop_run(folder: RunFolder, mode: StopMode = "save", grace: float = GRACE_SECONDS) -> Survived:
    """Stop a run and its engine; returns what is whole on disk once the engine is gone.

    save: the step in progress is finished and the adapter saved, however long that takes while the engine goes on
    telling of it. An engine that says nothing for `grace` seconds is ended: SIGTERM, then SIGKILL.
    """
    followed, state = Follower(folder), RunState()
    heard, asked = time.monotonic(), False
    while await asyncio.to_thread(holder, folder) is not None:
        for event in (events := followed.poll()):
            state.apply(event)
        if events:
            heard = time.monotonic()
        if not asked:
            asked = await _ask(folder, Stop(id=0, mode=mode), grace)
        elif state.stage in ("ready", "serving") and await _ask(folder, Shutdown(id=0), grace):
            state.stage = "ended"  # asked once
        if time.monotonic() - heard > grace:
            return await asyncio.to_thread(end, folder)
        await asyncio.sleep(POLL_SECONDS)
    return await asyncio.to_thread(survived, folder)


async def _ask(folder: RunFolder, command: Command, patience: float) -> bool:
    """Whether the engine has answered; one that does not, or is gone, is left to the caller's clock."""
    try:
        async with asyncio.timeout(patience):
            async with Control.connect(folder) as control:
                await control.ask(command)
    except CommandRefused:
        return True  # nothing is being trained, or it ends already
    except (EngineGone, TimeoutError):
        return False
    return True
