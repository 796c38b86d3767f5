"""Requests and flags shared by the socket's threads, signal handlers and main thread. Imports nothing heavy."""

import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.messages.message import Message, say
from engine.protocol.commands import AnyCommand, AnyReply, Cancel, Deliver, Export, Push, Refused, StopMode
from engine.protocol.events import Stage
from engine.runtime.event_writer import EventWriter

Reply = Callable[[AnyReply], None]

# The stages in which a command is accepted. What is not listed, such as Cancel, is accepted in any.
ACCEPTED_IN: dict[str, tuple[Stage, ...]] = {
    "Train": ("starting", "loading", "ready"),  # it waits for the model: the connection may drop meanwhile
    "TryRewards": ("ready",),
    "Generate": ("ready", "serving"),
    "ShowPrompt": ("ready", "serving"),
    "Score": ("ready", "serving"),
    "Export": ("serving",),
    "Push": ("serving", "exporting"),
    "Deliver": ("serving",),
    "Stop": ("starting", "loading", "preparing", "training", "saving", "exporting"),
    "SaveCheckpoint": ("training",),
}
# What the main thread executes, one after the other; the rest are flags that act at once.
QUEUED = ("Train", "TryRewards", "Generate", "ShowPrompt", "Score", "Export", "Push", "Deliver")
OUTLIVE_CLIENT = (Export, Push, Deliver)


@dataclass
class Job:
    """A request for the main thread. `client` sent it; `reply` never blocks and never raises."""

    command: AnyCommand
    reply: Reply
    client: object
    cancelled: threading.Event = field(default_factory=threading.Event)


class Control:
    """The queue of requests for the main thread, and flags that act while it is busy."""

    def __init__(self, record: EventWriter) -> None:
        self.record = record
        self.stop = threading.Event()
        self.stop_now = threading.Event()  # end at once, with what is on disk
        self.stop_mode: StopMode = "save"
        self.checkpoint = threading.Event()
        self.shutdown = threading.Event()
        self.terminate = threading.Event()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._unfinished: list[Job] = []
        self._lock = threading.Lock()
        self.on_cancel_push: Callable[[], bool] = lambda: False  # set during a push
        self._parent = os.getppid()
        self._clients = 0
        self._last_activity = time.monotonic()

    @property
    def stage(self) -> Stage:
        return self.record.stage

    def request_stop(self, mode: StopMode) -> None:
        """Stop after the current step; at once if `mode` says so, or in a stage where waiting gains nothing.

        Once training is over, "save" changes nothing: what the spec asks for is still carried out.
        """
        if mode != "save":
            self.stop_mode = mode
        if mode != "save" or self.stage in ("starting", "loading", "preparing"):
            self.stop_now.set()
        self.stop.set()

    @property
    def should_end_training(self) -> bool:
        """Whether the training loop should end and save. Not when stopping at once: that would save what is to be
        discarded."""
        return (self.stop.is_set() or self.ending) and not self.stop_now.is_set()

    @property
    def ending(self) -> bool:
        """Whether the engine was asked to exit."""
        return self.shutdown.is_set() or self.terminate.is_set()

    def wait_for_end(self, seconds: float) -> None:
        """Sleep for `seconds`, or until the engine is asked to exit."""
        until = time.monotonic() + seconds
        while not self.ending and time.monotonic() < until:
            time.sleep(0.1)

    def end(self) -> None:
        """Ask the engine to exit, and cancel what clients requested."""
        self.shutdown.set()
        self.cancel_all()
        self.wake()

    @property
    def orphaned(self) -> bool:
        """Whether the process that started the engine has exited, as a wizard that was killed."""
        return os.getppid() != self._parent

    def refusal(self, command: AnyCommand) -> Refused | None:
        """Why a command is refused in the current stage; None when it is accepted."""
        name = type(command).__name__
        stages = ACCEPTED_IN.get(name)
        if self.ending:
            return Refused(id=command.id, code="ending", message=say("The engine is shutting down."))
        if stages is None or self.stage in stages:
            return None
        code, message = _refusal_reason(name, self.stage)
        return Refused(id=command.id, code=code, message=message)

    def submit(self, job: Job) -> None:
        """Queue a job for the main thread."""
        with self._lock:
            self._unfinished.append(job)
        self._jobs.put(job)

    def wake(self) -> None:
        """Make the main thread check the flags."""
        self._jobs.put(None)

    def next_job(self, timeout: float) -> Job | None:
        """The next request, or None after `timeout` seconds or a wake-up."""
        try:
            return self._jobs.get(timeout=timeout)
        except queue.Empty:
            return None

    def job_done(self, job: Job) -> None:
        """The main thread is done with a job."""
        with self._lock:
            if job in self._unfinished:
                self._unfinished.remove(job)

    def cancel(self, command: Cancel, client: object) -> bool:
        """Cancel a request of the same client. False when it has ended or never was."""
        return self._cancel(lambda job: job.client is client and job.command.id == command.target)

    def cancel_all(self, client: object | None = None) -> None:
        """Cancel what a disconnected client requested, except exports and pushes; without a client, everything."""
        self._cancel(
            lambda job: client is None or (job.client is client and not isinstance(job.command, OUTLIVE_CLIENT))
        )

    def cancel_exports(self) -> bool:
        """Cancel every running or queued export, of any client. False when there is none."""
        return self._cancel(lambda job: isinstance(job.command, Export | Deliver))

    def _cancel(self, matches: Callable[[Job], bool]) -> bool:
        with self._lock:
            found = [job for job in self._unfinished if matches(job)]
        for job in found:
            job.cancelled.set()
        return bool(found)

    def refuse_all(self) -> None:
        """Refuse what is still queued, because the engine exits."""
        with self._lock:
            refused, self._unfinished = self._unfinished, []
        for job in refused:
            job.reply(Refused(id=job.command.id, code="ending", message=say("The engine is shutting down.")))

    def count_client(self, change: int) -> None:
        """A client connected (+1) or disconnected (-1)."""
        with self._lock:
            self._clients += change
            self._last_activity = time.monotonic()

    def reset_idle_time(self) -> None:
        """Count idle time from now."""
        self._last_activity = time.monotonic()

    @property
    def has_clients(self) -> bool:
        """Whether a client is connected."""
        return self._clients > 0

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last client left, or 0 while one is connected."""
        return 0.0 if self._clients else time.monotonic() - self._last_activity


def _refusal_reason(name: str, stage: Stage) -> tuple[str, Message]:
    """The code and the message for a command that is not accepted in a stage."""
    if name in ("Stop", "SaveCheckpoint"):
        return "not_training", say("Nothing is being trained.")
    if name == "Train":
        return "busy", say("This engine has trained already, or is training: start a new run.")
    if stage in ("starting", "loading"):
        return "not_ready", say("The model is still loading.")
    if name == "TryRewards" and stage == "serving":
        return "trained", say("The rewards are tried before training: start a new run.")
    if name in ("Export", "Push", "Deliver") and stage == "ready":
        return "not_trained", say("There is nothing to export yet: train first.")
    if stage in ("preparing", "training"):
        return "busy", say("The model is being trained. Wait until it is done, or stop the training.")
    if stage in ("saving", "exporting"):
        return "busy", say("The model is being saved or exported. Try again when that is done.")
    return "ending", say("The engine is shutting down.")
