"""The app's hold on the one run it looks at: start it, follow it, ask it. The backend is injected for tests."""

from __future__ import annotations

import asyncio
import subprocess
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Protocol

import msgspec

from engine.client.control import Control
from engine.client.errors import ClientError
from engine.client.follow import Follower, LogFollower
from engine.client.launch import Mode, launch, new_run
from engine.client.runs import discard, is_alive
from engine.spec.commands import (
    AnyReply,
    ChatMessage,
    Command,
    Export,
    Generate,
    Refused,
    Shutdown,
    Stop,
    Train,
)
from engine.spec.events import AnyEvent
from engine.spec.folder import RunFolder
from engine.spec.run import GenerationSpec, ModelSpec, RunSpec
from engine.spec.state import RunState
from tui.safe import visible

LOG_LINES = 5000
START_PATIENCE = 3.0  # seconds for a new engine to open its socket
END_PATIENCE = 5.0  # seconds for an engine to end before it is killed


class EventSource(Protocol):
    def poll(self) -> list[AnyEvent]: ...


class LogSource(Protocol):
    def poll(self) -> list[str]: ...


class Backend(Protocol):
    """What the link needs of the world; `RealBackend` in the product, a fake in tests of the screens."""

    def new_run(self, spec: RunSpec) -> RunFolder: ...
    def launch(self, folder: RunFolder, mode: Mode) -> None: ...
    def events(self, folder: RunFolder) -> EventSource: ...
    def log(self, folder: RunFolder) -> LogSource: ...
    def is_alive(self, folder: RunFolder) -> bool: ...
    async def abandon(self, folder: RunFolder) -> None: ...
    def ask(self, folder: RunFolder, command: Command) -> AsyncIterator[AnyReply]: ...


class RealBackend:
    """Engines as processes of their own, through `engine.client`."""

    def __init__(self) -> None:
        self._processes: dict[RunFolder, subprocess.Popen[bytes]] = {}

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
            with suppress(ClientError, OSError):
                async with Control.connect(folder, START_PATIENCE) as control:
                    await control.ask(Shutdown(id=0))
        for _ in range(round(END_PATIENCE / 0.1)):
            if not self.is_alive(folder) and (process is None or process.poll() is not None):
                break
            await asyncio.sleep(0.1)
        else:
            if process:
                process.kill()
                await asyncio.sleep(0.2)
        with suppress(ClientError, OSError):
            await asyncio.to_thread(discard, folder)

    async def ask(self, folder: RunFolder, command: Command) -> AsyncIterator[AnyReply]:
        async with Control.connect(folder) as control:
            async for reply in control.request(command):
                yield reply


class EngineLink:
    """The run on the screen: its folder, its state, the end of its log."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.folder: RunFolder | None = None
        self.spec: RunSpec | None = None
        self.state = RunState()
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.log_total = 0
        self._waiting_for: ModelSpec | None = None
        self._changing = asyncio.Lock()  # starting and ending a warm engine never overlap
        self._events: EventSource | None = None
        self._log: LogSource | None = None

    def attach(self, folder: RunFolder, spec: RunSpec) -> None:
        """Look at this run from its first event on, whether its engine lives or not."""
        self.folder, self.spec, self.state = folder, spec, RunState()
        self.log.clear()
        self.log_total = 0
        self._waiting_for = None
        self._events, self._log = self.backend.events(folder), self.backend.log(folder)

    def poll(self) -> bool:
        """Take in what happened since the last call; whether anything did. Cheap when nothing did."""
        if self._events is None or self._log is None:
            return False
        events = self._events.poll()
        for event in events:
            self.state.apply(event)
        lines = self._log.poll()
        self.log.extend(visible(line) for line in lines)
        self.log_total += len(lines)
        return bool(events or lines)

    @property
    def alive(self) -> bool:
        return self.folder is not None and self.backend.is_alive(self.folder)

    @property
    def warm(self) -> bool:
        """Whether the engine was started early and has not been told to train yet."""
        return self._waiting_for is not None

    @property
    def lost(self) -> bool:
        """Whether the engine is gone without having said so: killed, or out of memory."""
        return self.state.started is not None and self.state.ended is None and not self.alive

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
        self.log_total = 0
        await self.backend.abandon(folder)

    async def train(self, spec: RunSpec) -> AsyncIterator[AnyReply]:
        """Train as `spec` says: in the engine that is warm for its model, else in a new one.

        Once this returns, the link looks at the run; iterate over the replies to learn of a refusal. An engine
        that is still loading is not waited for: if the line dropped meanwhile, nobody would be left to tell it
        to train. Raises `SpecError`, `ClientError` or OSError.
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

    async def _told_to_train(self, folder: RunFolder, spec: RunSpec) -> AsyncIterator[AnyReply]:
        async for reply in self.backend.ask(folder, Train(id=0, spec=spec)):
            if isinstance(reply, Refused) and self.folder == folder:
                self._waiting_for = spec.model  # it still is what it was: warm
            yield reply

    def _usable_for(self, spec: RunSpec) -> bool:
        """Whether the warm engine can take this spec: its model is loaded, and its folder lies where it should."""
        return (
            self._waiting_for == spec.model
            and self.spec is not None
            and self.spec.training.output_dir == spec.training.output_dir
            and self.state.stage == "ready"
            and self.alive
        )

    def serve(self) -> None:
        """Start an engine again on the attached run, to chat with it or export it."""
        if self.folder is not None and not self.alive:
            self.backend.launch(self.folder, "serve")

    def stop(self) -> AsyncIterator[AnyReply]:
        """End training after this step and keep the model."""
        return self._ask(Stop(id=0))

    def generate(
        self, messages: tuple[ChatMessage, ...], adapter: bool, generation: GenerationSpec
    ) -> AsyncIterator[AnyReply]:
        """Stream an answer. Closing the iterator early cancels it: the engine stops when the client goes."""
        return self._ask(Generate(id=0, messages=messages, adapter=adapter, generation=generation))

    def export(self, command: Export) -> AsyncIterator[AnyReply]:
        """Save the trained model as `command` says."""
        return self._ask(command)

    async def _ask(self, command: Command) -> AsyncIterator[AnyReply]:
        if self.folder is None:
            return
        async for reply in self.backend.ask(self.folder, command):
            yield reply


async def _nothing() -> AsyncIterator[AnyReply]:
    """The replies of an engine that was asked nothing: it reads what to do in its folder."""
    none: tuple[AnyReply, ...] = ()
    for reply in none:
        yield reply


def with_name(spec: RunSpec, name: str) -> RunSpec:
    """The same spec under another name."""
    return msgspec.structs.replace(spec, name=name)
