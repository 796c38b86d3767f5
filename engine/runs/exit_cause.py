"""Why an engine died: by what it wrote, and by what the kernel reports."""

import os
from dataclasses import dataclass
from typing import Literal

from engine.messages.exit_codes import KILLED, TERMINATED
from engine.messages.message import Message, say
from engine.protocol.state import RunState
from engine.runs.machine import boot_id, memory_kills

ExitCauseCode = Literal["killed", "rebooted", "other_machine", "terminated"]


@dataclass(frozen=True)
class ExitCause:
    """Why an engine died before it finished. `exit_code`: None where it cannot be known."""

    code: ExitCauseCode
    message: Message
    hint: Message
    exit_code: int | None


def exit_cause_of(state: RunState, checkpoint: int | None) -> ExitCause | None:
    """Why the newest engine, which is dead, died; None when it exited by itself.

    `checkpoint`: the step of the newest complete checkpoint.
    """
    started, ended = state.started, state.ended
    if ended and ended.exit_code != TERMINATED:
        return None
    if started is None:
        message = say("The engine is gone and never reported a start. The end of engine.log may tell why.")
        return ExitCause("killed", message, resume_hint(checkpoint), None)
    if ended:
        message = say(
            "The engine was terminated (SIGTERM, 143), as when a rented machine is taken back or shut down."
        )
        return ExitCause("terminated", message, resume_hint(checkpoint), TERMINATED)
    if started.boot_id and started.boot_id != boot_id():
        if started.hostname != os.uname().nodename:
            message = say(
                "The engine ran on another machine, {host}. Whether it still runs cannot be seen from here.",
                host=started.hostname,
            )
            hint = say("Check there first. If that machine is gone, resume the run here.")
            return ExitCause("other_machine", message, hint, None)
        message = say("The machine was restarted while the engine ran.")
        return ExitCause("rebooted", message, resume_hint(checkpoint), None)
    if started.boot_id and memory_kills() > started.memory_kills:
        message = say(
            "The engine was killed (137). The machine's memory ran out and the kernel killed a process: "
            "most likely this one. Stop other programs that use memory, or lower dataset_num_proc."
        )
        return ExitCause("killed", message, resume_hint(checkpoint), KILLED)
    message = say("The engine was killed without a message (137), as by kill -9 or when the memory runs out.")
    return ExitCause("killed", message, resume_hint(checkpoint), KILLED)


def resume_hint(checkpoint: int | None) -> Message:
    """What resuming a run whose engine died will do."""
    if checkpoint:
        return say("Resume it from the checkpoint of step {step}.", step=checkpoint)
    return say("There is no checkpoint yet: resuming it starts from the first step.")
