"""The app's hold on the one run it looks at: start it, follow it, ask it. The backend is injected for tests."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from engine.client.control import Control
from engine.client.follow import Follower, LogFollower
from engine.client.launch import Mode, launch, new_run
from engine.client.runs import discard, is_alive
from engine.spec.commands import AnyReply, ChatMessage, Command, Export, Generate, Shutdown, Stop, Train
from engine.spec.events import AnyEvent
from engine.spec.folder import RunFolder
from engine.spec.run import GenerationSpec, ModelSpec, RunSpec
from engine.spec.state import RunState
from tui.safe import visible

LOG_LINES = 5000


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
    def discard(self, folder: RunFolder) -> None: ...
    def ask(self, folder: RunFolder, command: Command) -> AsyncIterator[AnyReply]: ...


class RealBackend:
    """Engines as processes of their own, through `engine.client`."""

    def __init__(self) -> None:
        self._controls: dict[RunFolder, Control] = {}

    def new_run(self, spec: RunSpec) -> RunFolder:
        return new_run(spec)

    def launch(self, folder: RunFolder, mode: Mode) -> None:
        launch(folder, mode)

    def events(self, folder: RunFolder) -> EventSource:
        return Follower(folder)

    def log(self, folder: RunFolder) -> LogSource:
        return LogFollower(folder)

    def is_alive(self, folder: RunFolder) -> bool:
        return is_alive(folder)

    def discard(self, folder: RunFolder) -> None:
        discard(folder)

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

    async def warm_up(self, spec: RunSpec) -> None:
        """Start an engine that loads the spec's model, unless one is doing just that already."""
        if self._waiting_for == spec.model and not self.state.failed and not self.state.ended:
            return
        await self.drop_warm()
        # The run folder is made anew with the whole spec when training starts; a draft needs no name.
        folder = self.backend.new_run(spec)
        self.backend.launch(folder, "wait")
        self.attach(folder, spec)
        self._waiting_for = spec.model

    async def drop_warm(self) -> None:
        """End an engine that was started early and never trained, and remove its folder."""
        if self._waiting_for is None or self.folder is None:
            return
        folder, self.folder, self._waiting_for = self.folder, None, None
        self._events = self._log = None
        self.state = RunState()
        async for _reply in self.backend.ask(folder, Shutdown(id=0)):
            pass
        self.backend.discard(folder)

    async def train(self, spec: RunSpec) -> AsyncIterator[AnyReply]:
        """Train as `spec` says: in the engine that is warm for its model, else in a new one."""
        if self._waiting_for == spec.model and self.folder is not None and self.alive:
            self.spec, self._waiting_for = spec, None
            async for reply in self.backend.ask(self.folder, Train(id=0, spec=spec)):
                yield reply
            return
        await self.drop_warm()
        folder = self.backend.new_run(spec)
        self.backend.launch(folder, "train")
        self.attach(folder, spec)

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


def with_name(spec: RunSpec, name: str) -> RunSpec:
    """The same spec under another name."""
    return msgspec.structs.replace(spec, name=name)
