"""A connection to an ended run's engine, which is started when none runs, and ended again by whoever started it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from engine.client.connection import Connection
from engine.client.follow import Follower
from engine.client.launch import launch
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.protocol.commands import Shutdown
from engine.protocol.events import Stage
from engine.protocol.state import RunState
from engine.runs.folder import RunFolder
from engine.runs.run_list import is_alive

POLL_SECONDS = 0.2
LEAVE_SECONDS = 20.0


def catch_up(follower: Follower, state: RunState) -> None:
    """Take all that the engine has reported into account."""
    while True:
        for event in follower.poll():
            state.apply(event)
        if not follower.behind:
            return


@asynccontextmanager
async def served(
    folder: RunFolder, tell: Callable[[Stage], None]
) -> AsyncIterator[tuple[Connection, Follower, RunState]]:
    """The engine once it serves, what it reports, and the state so far. `tell` gets each stage on the way.

    Raises `UserError` when it cannot serve, or OSError when no process can be made.
    """
    follower, state = Follower(folder), RunState()
    catch_up(follower, state)
    process = None if is_alive(folder) else launch(folder, "serve")
    if process:
        state.stage, state.failed, state.ended = "starting", None, None
    told: Stage | None = None
    answered = False
    try:
        while True:
            gone = process.poll() is not None if process else not is_alive(folder)
            catch_up(follower, state)
            if state.failed:
                raise UserError(state.failed.code, state.failed.message)
            if state.stage == "serving":
                break
            if gone:
                message = say("The engine ended before it could answer. Its log: {path}", path=str(folder.log))
                raise UserError("engine_gone", message)
            if not process and state.stage in ("ready", "preparing", "training"):
                raise UserError("busy", say("This run is being trained: wait until it is done."))
            if state.stage != told:
                told = state.stage
                tell(told)
            await asyncio.sleep(POLL_SECONDS)
        async with Connection.connect(folder, 5.0) as control:
            answered = True
            try:
                yield control, follower, state
            finally:
                if process:
                    with suppress(UserError, TimeoutError):
                        await asyncio.wait_for(control.ask(Shutdown(id=0)), 5.0)
    finally:
        if process:
            if not answered:
                process.terminate()  # given up while it was loading: nobody will ask it anything
            for _ in range(int(LEAVE_SECONDS / POLL_SECONDS)):
                if process.poll() is not None:
                    break
                await asyncio.sleep(POLL_SECONDS)
            else:
                process.terminate()
