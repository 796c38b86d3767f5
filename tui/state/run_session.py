"""The app's hold on the one run it looks at: start it, follow it, ask it. The backend is injected for tests."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.client.connection import Connection
from engine.client.follow import Follower, LogFollower
from engine.client.launch import Mode, launch, new_run
from engine.client.resume import resume
from engine.client.stop import Tell, stop
from engine.config.change import Change
from engine.config.run_spec import GenerationSpec, ModelSpec, RunSpec
from engine.messages.errors import UserError
from engine.protocol.commands import (
    AnyReply,
    ChatMessage,
    Command,
    Generate,
    Refused,
    Shutdown,
    Stop,
    StopMode,
    Train,
)
from engine.protocol.events import AnyEvent, EngineStarted
from engine.protocol.state import RunState
from engine.runs import lock_owner, manifest
from engine.runs.folder import RunFolder
from engine.runs.lock_owner import Survived
from engine.runs.run_list import discard, is_alive
from tui.text.sanitize import visible

LOG_LINES = 5000
LINE_CHARS = 2000  # of a line: the rest is in the file
CONNECT_PATIENCE = 1.0  # seconds for an engine that lives to answer
POLLS_AT_ONCE = 8  # of an old run: 40,000 steps in about 80 ms, and the keys are answered in between
START_PATIENCE = 3.0  # seconds for a new engine to open its socket
FIRST_WORD_SECONDS = 30.0  # how long a new engine may take to say that it is there
END_PATIENCE = 5.0  # seconds for an engine to end before it is killed


class EventSource(Protocol):
    @property
    def behind(self) -> bool:
        """Whether more is there to be read at once."""

    def poll(self) -> list[AnyEvent]: ...


class LogSource(Protocol):
    @property
    def partial(self) -> str:
        """The line being written, such as a progress bar."""

    def poll(self) -> list[str]: ...


@dataclass
class Turn:
    """One turn of a conversation: a question and what each asked model made of it. Text as it was given."""

    question: str
    answers: list[Answer]


@dataclass
class Answer:
    """`adapter`: who answered. `note`: what is said of it, such as its speed or why there is none.

    `other`: the run folder whose adapter it was, if not the own one. `warning`: why it did not end by itself.
    """

    adapter: bool
    text: str = ""
    note: str = ""
    failed: bool = False
    other: str = ""
    warning: str = ""


class Backend(Protocol):
    """What the session needs of the world; `RealBackend` in the product, a fake in tests of the screens."""

    def new_run(self, spec: RunSpec) -> RunFolder: ...
    def launch(self, folder: RunFolder, mode: Mode) -> None: ...
    def events(self, folder: RunFolder) -> EventSource: ...
    def log(self, folder: RunFolder) -> LogSource: ...
    def is_alive(self, folder: RunFolder) -> bool: ...
    async def abandon(self, folder: RunFolder) -> None: ...
    def ask(self, folder: RunFolder, command: Command) -> AsyncGenerator[AnyReply, None]: ...
    def is_frozen(self, folder: RunFolder) -> bool: ...
    def checkpoint(self, folder: RunFolder) -> int | None: ...
    def resume(self, folder: RunFolder, changes: tuple[Change, ...]) -> RunSpec: ...
    async def stop(self, folder: RunFolder, mode: StopMode, tell: Tell) -> Survived: ...
    async def force(self, folder: RunFolder) -> Survived: ...


class RealBackend:
    """Engines as processes of their own, through `engine.client`."""

    def __init__(self) -> None:
        self._processes: dict[RunFolder, subprocess.Popen[bytes]] = {}
        self._control: Connection | None = None
        self._control_of: RunFolder | None = None
        self._connecting = asyncio.Lock()

    def new_run(self, spec: RunSpec) -> RunFolder:
        return new_run(spec)

    def launch(self, folder: RunFolder, mode: Mode) -> None:
        self._processes[folder] = launch(folder, mode)

    def events(self, folder: RunFolder) -> EventSource:
        return Follower(folder)

    def log(self, folder: RunFolder) -> LogSource:
        return LogFollower(folder)

    def is_alive(self, folder: RunFolder) -> bool:
        return is_alive(folder)

    async def abandon(self, folder: RunFolder) -> None:
        """End an engine that has nothing to lose, and delete its folder. Takes a few seconds at worst."""
        process = self._processes.pop(folder, None)
        if self.is_alive(folder) or (process and process.poll() is None):
            with suppress(UserError, OSError):
                async with Connection.connect(folder, START_PATIENCE) as control:
                    await control.ask(Shutdown(id=0))
        for _ in range(round(END_PATIENCE / 0.1)):
            if not self.is_alive(folder) and (process is None or process.poll() is not None):
                break
            await asyncio.sleep(0.1)
        else:
            if process:
                process.kill()
                await asyncio.sleep(0.2)
        with suppress(UserError, OSError):
            await asyncio.to_thread(discard, folder)

    async def ask(self, folder: RunFolder, command: Command) -> AsyncGenerator[AnyReply, None]:
        control = await self._connected(folder)
        request = control.request(command)
        try:
            async for reply in request:
                yield reply
        finally:
            # Nobody waits for the rest of an answer. What saves or trains goes on all the same.
            if isinstance(command, Generate):
                with suppress(UserError):
                    request.cancel()

    def is_frozen(self, folder: RunFolder) -> bool:
        return lock_owner.is_frozen(folder)

    def checkpoint(self, folder: RunFolder) -> int | None:
        """The step of the newest complete checkpoint."""
        kept = manifest.checkpoints(folder.checkpoints)
        return kept[0].step if kept else None

    def resume(self, folder: RunFolder, changes: tuple[Change, ...]) -> RunSpec:
        return resume(folder, changes, self.checkpoint(folder) or 0)

    async def stop(self, folder: RunFolder, mode: StopMode, tell: Tell) -> Survived:
        return await stop(folder, mode, tell)

    async def force(self, folder: RunFolder) -> Survived:
        return await asyncio.to_thread(lock_owner.end, folder)

    async def _connected(self, folder: RunFolder) -> Connection:
        """The one connection, to this run's engine. It stays open, so that the engine knows it is looked at."""
        async with self._connecting:
            control = self._control
            if control is None or control.gone or self._control_of != folder:
                if control is not None:
                    await control.close()
                    self._control = None
                control = await Connection.open(folder, CONNECT_PATIENCE)
                self._control, self._control_of = control, folder
            return control


class RunSession:
    """The run on the screen: its folder, its state, the end of its log."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.folder: RunFolder | None = None
        self.spec: RunSpec | None = None
        self.state = RunState()
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.log_total = 0
        self.doing = ""  # the line that the engine is writing, such as the bar of a download
        self.turns: list[Turn] = []  # the conversation with this run's model
        self.transcript: Path | None = None  # where it is kept, once there is something to keep
        self.other = ""  # the folder of another run, whose adapter is compared with this one's
        self.generation: GenerationSpec | None = None  # how it answers, once the user has changed that
        self._served_over: EngineStarted | None = None  # the engine before the one that was started again
        self._served_at = 0.0
        self._waiting_for: ModelSpec | None = None
        self._changing = asyncio.Lock()  # starting and ending a warm engine never overlap
        self._events: EventSource | None = None
        self._log: LogSource | None = None

    def attach(self, folder: RunFolder, spec: RunSpec) -> None:
        """Look at this run from its first event on, whether its engine lives or not."""
        if folder != self.folder:
            self.turns, self.generation, self.transcript, self.other = [], None, None, ""
            self._served_at = 0.0
        self.folder, self.spec, self.state = folder, spec, RunState()
        self.log.clear()
        self.log_total, self.doing = 0, ""
        self._waiting_for = None
        self._events, self._log = self.backend.events(folder), self.backend.log(folder)

    def poll(self) -> bool:
        """Take in what happened since the last call; whether anything did. Cheap when nothing did."""
        if self._events is None or self._log is None:
            return False
        changed = False
        for _ in range(POLLS_AT_ONCE):
            events = self._events.poll()
            for event in events:
                self.state.apply(event)
            changed = changed or bool(events)
            if not self._events.behind:
                break
        lines = self._log.poll()
        self.log.extend(visible(line[:LINE_CHARS]) for line in lines)
        self.log_total += len(lines)
        doing, self.doing = self.doing, visible(self._log.partial[:LINE_CHARS])
        return changed or bool(lines) or doing != self.doing

    @property
    def behind(self) -> bool:
        """Whether more events are there to be read at once."""
        return self._events is not None and self._events.behind

    async def catch_up(self) -> None:
        """Take in all that has happened so far, so that the whole curve is drawn at once. Keys go on in between."""
        while self.poll():
            if not self.behind:
                return
            await asyncio.sleep(0)

    @property
    def alive(self) -> bool:
        return self.folder is not None and self.backend.is_alive(self.folder)

    @property
    def warm(self) -> bool:
        """Whether the engine was started early and has not been told to train yet."""
        return self._waiting_for is not None

    @property
    def title(self) -> str:
        """What the run is called: by its spec, else by its folder; empty without a run."""
        if self.spec and self.spec.name:
            return self.spec.name
        return self.folder.name if self.folder else ""

    @property
    def lost(self) -> bool:
        """Whether the engine is gone without having said so: killed, or out of memory."""
        return self.state.started is not None and self.state.ended is None and not self.alive

    async def let_go(self, folder: RunFolder) -> None:
        """End an engine that only waits for questions, so that its card is free: all it has is saved."""
        with suppress(UserError, OSError):
            async for _reply in self.backend.ask(folder, Shutdown(id=0)):
                pass
        for _ in range(round(END_PATIENCE / 0.1)):
            if not self.backend.is_alive(folder):
                return
            await asyncio.sleep(0.1)

    async def look_at(self, folder: RunFolder, spec: RunSpec) -> None:
        """Attach to another run; an engine that was only kept warm is ended first."""
        if self.folder != folder:
            await self.drop_warm()
        self.attach(folder, spec)

    @property
    def warm_model(self) -> ModelSpec | None:
        """The model that the warm engine loads or has loaded; None without one."""
        return self._waiting_for

    async def warm_up(self, spec: RunSpec) -> None:
        """Start an engine that loads the spec's model, unless one is doing just that already.

        Raises `SpecError` or OSError when no run folder or process can be made.
        """
        async with self._changing:
            broken = self.state.failed or self.state.ended or self.lost
            if self._waiting_for == spec.model and not broken:
                return
            await self._drop()
            # The engine writes the whole spec into the folder when it is told to train.
            folder = self.backend.new_run(spec)
            self.backend.launch(folder, "wait")
            self.attach(folder, spec)
            self._waiting_for = spec.model

    async def drop_warm(self) -> None:
        """End an engine that was started early and never trained, and remove its folder."""
        async with self._changing:
            await self._drop()

    async def _drop(self) -> None:
        if self._waiting_for is None or self.folder is None:
            return
        folder, self.folder, self.spec, self._waiting_for = self.folder, None, None, None
        self._events = self._log = None
        self.state = RunState()
        self.log.clear()
        self.log_total, self.doing, self.turns = 0, "", []
        await self.backend.abandon(folder)

    async def train(self, spec: RunSpec) -> AsyncGenerator[AnyReply, None]:
        """Train as `spec` says: in the engine that is warm for its model, else in a new one.

        Once this returns, the session looks at the run; iterate over the replies to learn of a refusal. An engine
        that is still loading keeps the request, and trains even if this terminal is gone by then. Raises
        `SpecError`, `UserError` or OSError.
        """
        async with self._changing:
            if self.folder is not None and self._usable_for(spec):
                self.spec, self._waiting_for = spec, None
                return self._told_to_train(self.folder, spec)
            await self._drop()
            new = self.backend.new_run(spec)
            self.backend.launch(new, "train")
            self.attach(new, spec)
            return _nothing()

    async def _told_to_train(self, folder: RunFolder, spec: RunSpec) -> AsyncGenerator[AnyReply, None]:
        async for reply in self.backend.ask(folder, Train(id=0, spec=spec)):
            if isinstance(reply, Refused) and self.folder == folder:
                self._waiting_for = spec.model  # it still is what it was: warm
            yield reply

    def _usable_for(self, spec: RunSpec) -> bool:
        """Whether the warm engine can take this spec: it has its model, and its folder lies where it should."""
        return (
            self._waiting_for == spec.model
            and self.spec is not None
            and self.spec.training.output_dir == spec.training.output_dir
            and self.state.stage in ("starting", "loading", "ready")
            and self.alive
        )

    def serve(self) -> None:
        """Start an engine again on the attached run, to chat with it or export it."""
        if self.folder is not None and not self.alive and not self.being_served:
            self.backend.launch(self.folder, "serve")
            self._served_over, self._served_at = self.state.started, time.monotonic()

    @property
    def being_served(self) -> bool:
        """Whether an engine was started again and has not said a word yet: what is known is of the one before."""
        return (
            self._served_at > 0
            and self.state.started == self._served_over
            and time.monotonic() - self._served_at < FIRST_WORD_SECONDS
        )

    def resume(self, changes: tuple[Change, ...] = ()) -> None:
        """Go on with the attached run, whose engine is gone. Raises `SpecError` or OSError."""
        if self.folder is not None and not self.alive and not self.being_served:
            self.spec = self.backend.resume(self.folder, changes)
            self._served_over, self._served_at = self.state.started, time.monotonic()

    def stop(self, mode: StopMode = "save") -> AsyncGenerator[AnyReply, None]:
        """End the run: after this step with the model kept, or at once."""
        return self._ask(Stop(id=0, mode=mode))

    def generate(
        self, messages: tuple[ChatMessage, ...], adapter: bool, generation: GenerationSpec, other: str = ""
    ) -> AsyncGenerator[AnyReply, None]:
        """Stream an answer. Close the iterator early, with `aclosing`, and the engine stops within a token."""
        return self._ask(Generate(id=0, messages=messages, adapter=adapter, generation=generation, other=other))

    def ask(self, command: Command) -> AsyncGenerator[AnyReply, None]:
        """Have the engine carry out a command, such as an `Export`."""
        return self._ask(command)

    async def _ask(self, command: Command) -> AsyncGenerator[AnyReply, None]:
        if self.folder is None:
            return
        async with aclosing(self.backend.ask(self.folder, command)) as replies:
            async for reply in replies:
                yield reply


async def _nothing() -> AsyncGenerator[AnyReply, None]:
    """The replies of an engine that was asked nothing: it reads what to do in its folder."""
    none: tuple[AnyReply, ...] = ()
    for reply in none:
        yield reply
