"""Stops a run: asks its engine, waits while it shows signs of life, and kills it when it shows none."""

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
ASK_SECONDS = 5.0  # for an engine to confirm the request
FROZEN_SECONDS = 2.0  # a process stopped by a signal cannot save anything, however long we wait

# Asked to stop; stopped by a signal; no sign of life; asked to end at once; killed.
Phase = Literal["asked", "frozen", "silent", "now", "force"]
OnPhase = Callable[[Phase], None]


async def stop(
    folder: RunFolder, mode: StopMode, on_phase: OnPhase, grace: float | None = None
) -> lock_owner.SavedWork:
    """Stop the run and end its engine; returns what is complete on disk afterwards.

    `grace`: seconds without a sign of life (an event, a line of log) before the next, stronger step.
    """
    seconds = GRACE_SECONDS[mode] if grace is None else grace
    on_phase("asked")
    if not await _ask(folder, mode):
        await _wait(folder, seconds, on_phase)
    elif await _wait(folder, seconds, on_phase):
        pass
    elif mode == "save":
        on_phase("now")
        await _ask(folder, "now")
        await _wait(folder, min(seconds, GRACE_SECONDS["now"]), on_phase)
    if is_alive(folder):
        on_phase("force")
        return await asyncio.to_thread(lock_owner.terminate, folder)
    return await asyncio.to_thread(lock_owner.saved_work, folder)


async def _ask(folder: RunFolder, mode: StopMode) -> bool:
    """Ask the engine to stop and then to exit; returns whether it confirmed."""
    with suppress(UserError, OSError, TimeoutError):
        async with asyncio.timeout(ASK_SECONDS), Connection.connect(folder, 1.0) as control:
            with suppress(CommandRefused):  # it is not training: only ask it to exit
                await control.ask(Stop(id=0, mode=mode))
            with suppress(EngineGone):
                await control.ask(Shutdown(id=0))
            return True
    return False


async def _wait(folder: RunFolder, grace: float, on_phase: OnPhase) -> bool:
    """Wait until the engine has exited; False once it has shown no sign of life for `grace` seconds."""
    sizes, since = _file_sizes(folder), time.monotonic()
    frozen_since: float | None = None
    while is_alive(folder):
        await asyncio.sleep(POLL_SECONDS)
        now = time.monotonic()
        if (new := _file_sizes(folder)) != sizes:
            sizes, since = new, now
        if not lock_owner.is_frozen(folder):
            frozen_since = None
        elif frozen_since is None:
            frozen_since = now
        if frozen_since is not None and now - frozen_since >= min(FROZEN_SECONDS, grace):
            on_phase("frozen")
            return False
        if now - since >= grace:
            on_phase("silent")
            return False
    return True


def _file_sizes(folder: RunFolder) -> tuple[int, ...]:
    sizes = []
    for path in (folder.events, folder.log):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return tuple(sizes)
