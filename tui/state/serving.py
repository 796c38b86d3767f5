"""Waits until the attached run's engine answers, and starts it again for an earlier run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.messages.errors import UserError
from engine.messages.message import N_, say
from tui.state.run_session import RunSession
from tui.text.translation import _

POLL_SECONDS = 0.1
WAITING = {
    "starting": N_("the engine is starting: importing Unsloth takes 10 to 30 seconds"),
    "loading": N_("the model is loading"),
}


async def until_it_answers(session: RunSession, tell: Callable[[str], None]) -> None:
    """Return when the engine takes requests, or refuses them in its own words. Raises `UserError`.

    `tell` is given what is waited for, in words, as often as that changes.
    """
    launched, told = False, ""
    while True:
        state = session.state
        if session.folder is None:
            raise UserError("no_run", say("No run is open."))
        if session.being_served:
            launched = True  # by this call, or by one that was given up
        elif session.alive:
            if not state.ended and not state.failed and state.stage not in WAITING:
                return
        elif launched:
            failed = say("The engine did not start. Its log says why: {path}", path=str(session.folder.log))
            raise UserError("engine_gone", state.failed.message if state.failed else failed)
        elif state.trained:
            try:
                session.serve()
            except OSError as error:
                reason = error.strerror or str(error)
                raise UserError(
                    "no_process", say("The engine could not be started: {reason}", reason=reason)
                ) from error
        elif state.failed:
            raise UserError(state.failed.code, state.failed.message)
        elif state.started or not session.warm:
            raise UserError("not_trained", say("No engine is running, and this run has no adapter to load."))
        stage = "starting" if session.being_served or state.stage not in WAITING else state.stage
        words = _(WAITING[stage])
        if state.stage in ("starting", "loading") and session.doing:
            words += " · " + session.doing
        if words != told:
            told = words
            tell(words)
        await asyncio.sleep(POLL_SECONDS)
