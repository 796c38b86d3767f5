"""What the socket's threads, the signals and the main thread tell each other. Imports nothing heavy."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.messages.message import Message, say
from engine.protocol.commands import AnyCommand, AnyReply, Cancel, Export, Push, Refused, StopMode
from engine.protocol.events import Stage
from engine.runtime.event_writer import EventWriter

Reply = Callable[[AnyReply], None]

# The stages in which a command is taken. What is not named here, such as Cancel, is taken in any.
TAKEN_IN: dict[str, tuple[Stage, ...]] = {
    "Train": ("starting", "loading", "ready"),  # it waits for the model: the line may drop meanwhile
    "Generate": ("ready", "serving"),
    "ShowPrompt": ("ready", "serving"),
    "Export": ("serving",),
    "Push": ("serving", "exporting"),
    "Stop": ("starting", "loading", "preparing", "training", "saving", "exporting"),
    "SaveCheckpoint": ("training",),
}
# What the main thread carries out, one after the other; the rest are flags that act at once.
QUEUED = ("Train", "Generate", "ShowPrompt", "Export", "Push")


@dataclass
class Job:
    """A request for the main thread. `owner` is the client that asked; `reply` never blocks and never raises."""

    command: AnyCommand
    reply: Reply
    owner: object
    cancelled: threading.Event = field(default_factory=threading.Event)


class Control:
    """Requests on their way to the main thread, and flags that act while it is busy."""

    def __init__(self, record: EventWriter) -> None:
        self.record = record
        self.stop = threading.Event()
        self.stop_now = threading.Event()  # end at once, with what is on disk
        self.stop_mode: StopMode = "save"
        self.checkpoint = threading.Event()
        self.shutdown = threading.Event()
        self.terminate = threading.Event()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._open: list[Job] = []
        self._lock = threading.Lock()
        self.on_cancel_push: Callable[[], bool] = lambda: False  # set while a push goes on
        self._parent = os.getppid()
        self._clients = 0
        self._last_seen = time.monotonic()

    @property
    def stage(self) -> Stage:
        return self.record.stage

    def ask_to_stop(self, mode: StopMode) -> None:
        """Stop after the step, or at once: by the wish, or because nothing would be gained by waiting."""
        if mode != "save":
            self.stop_mode = mode
        if mode != "save" or self.stage in ("starting", "loading", "preparing", "exporting"):
            self.stop_now.set()
        self.stop.set()

    @property
    def leaves_training(self) -> bool:
        """Whether training is to end by itself and to save. Not when all is ended at once: what is to be discarded
        would be saved in the moment before."""
        return (self.stop.is_set() or self.ending) and not self.stop_now.is_set()

    @property
    def ending(self) -> bool:
        """Whether someone asked the engine to end."""
        return self.shutdown.is_set() or self.terminate.is_set()

    def wait_for_end(self, seconds: float) -> None:
        """Sleep so long, or until someone asks the engine to end."""
        until = time.monotonic() + seconds
        while not self.ending and time.monotonic() < until:
            time.sleep(0.1)

    @property
    def orphaned(self) -> bool:
        """Whether whoever started the engine is gone, as a wizard that was killed."""
        return os.getppid() != self._parent

    def refusal(self, command: AnyCommand) -> Refused | None:
        """Why a command cannot be taken in the present stage; None when it can."""
        name = type(command).__name__
        stages = TAKEN_IN.get(name)
        if self.ending:
            return Refused(id=command.id, code="ending", message=say("The engine is ending."))
        if stages is None or self.stage in stages:
            return None
        code, message = _not_now(name, self.stage)
        return Refused(id=command.id, code=code, message=message)

    def submit(self, job: Job) -> None:
        """Hand a job to the main thread."""
        with self._lock:
            self._open.append(job)
        self._jobs.put(job)

    def wake(self) -> None:
        """Make the main thread look at the flags."""
        self._jobs.put(None)

    def next_job(self, timeout: float) -> Job | None:
        """The next request, or None after `timeout` seconds or a wake-up."""
        try:
            return self._jobs.get(timeout=timeout)
        except queue.Empty:
            return None

    def finished(self, job: Job) -> None:
        """The main thread is done with a job."""
        with self._lock:
            if job in self._open:
                self._open.remove(job)

    def cancel(self, command: Cancel, owner: object) -> bool:
        """Cancel a request of the same client. False when it has ended or never was."""
        return self._cancel(lambda job: job.owner is owner and job.command.id == command.target)

    def cancel_all(self, owner: object | None = None) -> None:
        """Cancel what a client that went away had asked for, or everything."""
        self._cancel(
            lambda job: owner is None or (job.owner is owner and not isinstance(job.command, Export | Push))
        )

    def cancel_exports(self) -> bool:
        """Give up every export that is going on or waiting, whoever asked for it. False when there is none."""
        return self._cancel(lambda job: isinstance(job.command, Export))

    def _cancel(self, which: Callable[[Job], bool]) -> bool:
        with self._lock:
            found = [job for job in self._open if which(job)]
        for job in found:
            job.cancelled.set()
        return bool(found)

    def refuse_all(self) -> None:
        """Refuse what is still waiting, for the engine ends."""
        with self._lock:
            left, self._open = self._open, []
        for job in left:
            job.reply(Refused(id=job.command.id, code="ending", message=say("The engine is ending.")))

    def connected(self, change: int) -> None:
        """A client came (+1) or went (-1)."""
        with self._lock:
            self._clients += change
            self._last_seen = time.monotonic()

    def seen(self) -> None:
        """The engine has just been of use: idleness counts from now."""
        self._last_seen = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last client left, or 0 while one is connected."""
        return 0.0 if self._clients else time.monotonic() - self._last_seen


def _not_now(name: str, stage: Stage) -> tuple[str, Message]:
    """The code and the words for a command that comes in a stage where it is not taken."""
    if name in ("Stop", "SaveCheckpoint"):
        return "not_training", say("Nothing is being trained.")
    if name == "Train":
        return "busy", say("This engine has trained already, or is training: start a new run.")
    if stage in ("starting", "loading"):
        return "not_ready", say("The model is still loading.")
    if name in ("Export", "Push") and stage == "ready":
        return "not_trained", say("There is nothing to save yet: train first.")
    if stage in ("preparing", "training"):
        return "busy", say("The model is being trained. Wait until it is done, or stop the training.")
    if stage in ("saving", "exporting"):
        return "busy", say("The model is being saved. Try again when that is done.")
    return "ending", say("The engine is ending.")
