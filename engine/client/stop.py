"""Stops a run: asks its engine, waits while it shows signs of life, and kills it when it shows none.

What the spec asks for after training is carried out first, however long it takes, unless the mode is not "save" or
`grace` is given: killing the engine there would lose a result.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from engine.client.connection import CommandRefused, Connection, EngineGone
from engine.client.follow import Follower
from engine.messages.errors import UserError
from engine.protocol.commands import Shutdown, Stop, StopMode
from engine.protocol.events import EngineStarted
from engine.protocol.state import RunState
from engine.runs import lock_owner
from engine.runs.folder import RunFolder
from engine.runs.run_list import is_alive

GRACE_SECONDS: dict[StopMode, float] = {"save": 120.0, "now": 15.0, "discard": 15.0}
POLL_SECONDS = 0.2
ASK_SECONDS = 5.0  # for an engine to confirm the request
FROZEN_SECONDS = 2.0  # a process stopped by a signal cannot save anything, however long we wait

# Asked to stop; exporting, copying and pushing first; stopped by a signal; no sign of life; asked to end at once;
# killed.
Phase = Literal["asked", "delivering", "frozen", "silent", "now", "force"]
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
    elif await _wait(folder, seconds, on_phase, patient=mode == "save" and grace is None):
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


async def _wait(folder: RunFolder, grace: float, on_phase: OnPhase, patient: bool = False) -> bool:
    """Wait until the engine has exited; False once it has shown no sign of life for `grace` seconds.

    `patient`: without a limit while it carries out what the spec asks for.
    """
    engine, since = _SignsOfLife(folder), time.monotonic()
    frozen_since: float | None = None
    reported = False
    while is_alive(folder):
        await asyncio.sleep(POLL_SECONDS)
        now = time.monotonic()
        if engine.wrote() or (patient and engine.ends_its_run):
            since = now
        if patient and engine.delivers and not reported:
            reported = True
            on_phase("delivering")
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


class _SignsOfLife:
    """What an engine writes: events and lines of its log."""

    def __init__(self, folder: RunFolder) -> None:
        self._log, self._events = folder.log, Follower(folder)
        self._log_size = self._size()
        self._state = RunState()
        self._serves = False  # the run of this engine is over: what it exports now was asked for by a client

    def wrote(self) -> bool:
        """Whether it wrote anything since the last call."""
        before, self._log_size = self._log_size, self._size()
        found = self._events.poll()
        for event in found:
            self._state.apply(event)
            if isinstance(event, EngineStarted):
                self._serves = False
            self._serves = self._serves or self._state.stage == "serving"
        return bool(found) or self._log_size != before

    def _size(self) -> int:
        with suppress(OSError):
            return self._log.stat().st_size
        return 0

    @property
    def ends_its_run(self) -> bool:
        """Whether the adapter is saved, and what the spec asks for after that is done, with the last command."""
        state = self._state
        saved = state.finished is not None and not state.unsaved
        return saved and state.stage in ("saving", "exporting") and not self._serves

    @property
    def delivers(self) -> bool:
        """Whether it exports, copies or pushes as the spec asks."""
        return self.ends_its_run and bool(self._state.undelivered)
