"""Why a run ended that did not end well: what its engine said, or what the traces of a sudden death tell."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.client.follow import LogFollower
from engine.client.holder import holder
from engine.spec import complete
from engine.spec.events import Change
from engine.spec.folder import RunFolder
from engine.spec.state import RunState
from engine.spec.text import N_, Message, say

LOG_LINES = 30


@dataclass(frozen=True)
class Ending:
    """A code for scripts, the cause in a sentence, what to do, settings that help, and the end of the log."""

    code: str
    message: Message
    hint: Message | None
    changes: tuple[Change, ...]
    log: tuple[str, ...]


def ending(folder: RunFolder, state: RunState) -> Ending | None:
    """Why a run is over that is not complete; None for one that lives or ended as it should."""
    if holder(folder) is not None or state.started is None:
        return None
    if state.failed:
        failed = state.failed
        return Ending(failed.code, failed.message, failed.hint, failed.changes, log_tail(folder))
    if state.finished or state.stopped:
        return None
    kept = complete.newest(folder.checkpoints)
    hint = (
        say(N_("Resume it: it goes on from the checkpoint of step {step}."), step=kept.step)
        if kept
        else say(N_("Start it again: it had no checkpoint yet."))
    )
    if state.ended:
        if state.ended.exit_code != 143:
            return None
        message = say(N_("The engine was told to end (SIGTERM), as when a rented machine is reclaimed."))
        return Ending("terminated", message, hint, (), log_tail(folder))
    last = state.last_event.time if state.last_event else 0.0
    if 0 < last < boot_time():
        return Ending("rebooted", say(N_("The machine was restarted.")), hint, (), log_tail(folder))
    message = say(N_("The engine was killed (137): the machine's memory ran out, or someone ended it."))
    return Ending("killed", message, hint, (), log_tail(folder))


def log_tail(folder: RunFolder, lines: int = LOG_LINES) -> tuple[str, ...]:
    """The last lines of the engine's log, raw: make them visible before showing them."""
    follower = LogFollower(folder)
    found: list[str] = []
    while more := follower.poll():
        found += more
    if follower.partial:
        found.append(follower.partial)
    return tuple(found[-lines:])


def boot_time() -> float:
    """When this machine started, in seconds since 1970; 0 where that cannot be seen."""
    with suppress(OSError, ValueError, StopIteration):
        text = Path("/proc/stat").read_text()
        return float(next(line.split()[1] for line in text.splitlines() if line.startswith("btime")))
    return 0.0
