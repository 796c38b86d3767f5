"""A run and its engine as terminal and command line hold them: start it, follow it, ask it, end it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from engine.client.backend import END_PATIENCE, Backend, EventSource, wait_until
from engine.client.launch import Mode
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
from engine.runs.folder import RunFolder
from engine.runs.resumable import is_trained, resumable

POLLS_AT_ONCE = 8  # of an old run: 40,000 steps in about 80 ms, and the keys are answered in between


class EngineClient:
    """`folder`, `spec`, `state`: of the run that is attached. `doing`: the line that its engine is writing."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.folder: RunFolder | None = None
        self.spec: RunSpec | None = None
        self.state = RunState()
        self.doing = ""
        self.unshown = False  # whether `catch_up` took in what no `poll` has told of
        self._launched = False  # an engine, on this folder
        self._launched_over: EngineStarted | None = None  # the engine before that one
        self._waiting_for: ModelSpec | None = None
        self._changing = asyncio.Lock()  # starting and ending a warm engine never overlap
        self._events: EventSource | None = None

    def attach(self, folder: RunFolder, spec: RunSpec | None = None) -> None:
        """Look at this run from its first event on, whether its engine lives or not."""
        self._launched = self._launched and folder == self.folder
        self.folder, self.spec, self.state = folder, spec, RunState()
        self._waiting_for = None
        self._events = self.backend.events(folder)

    def detach(self) -> None:
        """Look at no run."""
        self.folder, self.spec, self.state = None, None, RunState()
        self._waiting_for = self._events = None

    def take_events(self) -> list[AnyEvent]:
        """What is new, taken into account; of much, a part: see `behind`."""
        events = self._events.poll() if self._events else []
        for event in events:
            self.state.apply(event)
        return events

    def poll(self) -> bool:
        """Take in what happened since the last call; whether anything did. Cheap when nothing did."""
        changed = False
        for _ in range(POLLS_AT_ONCE):
            changed = bool(self.take_events()) or changed
            if not self.behind:
                break
        return changed

    @property
    def behind(self) -> bool:
        """Whether more events are there to be read at once."""
        return self._events is not None and self._events.behind

    async def catch_up(self) -> None:
        """Take in all that has happened so far, so that the whole curve is drawn at once. Keys go on in between."""
        while self.poll():
            self.unshown = True
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
    def warm_model(self) -> ModelSpec | None:
        """The model that the warm engine loads or has loaded; None without one."""
        return self._waiting_for

    @property
    def lost(self) -> bool:
        """Whether the engine is gone without having said so: killed, or out of memory."""
        return self.state.started is not None and self.state.ended is None and not self.alive

    @property
    def being_served(self) -> bool:
        """Whether an engine was started here and has not said a word yet: what is known is of the one before."""
        return (
            self._launched
            and self.folder is not None
            and self.state.started == self._launched_over
            and not self.backend.is_gone(self.folder)
        )

    def serve(self, mode: Mode = "serve") -> None:
        """Start an engine on the attached run, to chat with it or export it. Raises OSError."""
        if self.folder is not None and not self.alive and not self.being_served:
            self.backend.launch(self.folder, mode)
            self._launched, self._launched_over = True, self.state.started

    def resumable(self, checkpoint: int | None) -> bool:
        """Whether training can go on once the engine is gone. `checkpoint`: the step of the newest whole one."""
        if self.folder is None or self.being_served:
            return False
        return resumable(self.state, is_trained(self.folder, self.state), checkpoint)

    def resume(self, changes: tuple[Change, ...] = ()) -> None:
        """Go on with the attached run, whose engine is gone. Raises `SpecError` or OSError."""
        if self.folder is not None and not self.alive and not self.being_served:
            self.spec = self.backend.resume(self.folder, changes)
            self._launched, self._launched_over = True, self.state.started

    async def let_go(self, folder: RunFolder) -> None:
        """End an engine that only waits for questions, so that its card is free: all it has is saved."""
        with suppress(UserError, OSError):
            async for _reply in self.backend.ask(folder, Shutdown(id=0)):
                pass
        await wait_until(lambda: not self.backend.is_alive(folder), END_PATIENCE)

    async def look_at(self, folder: RunFolder, spec: RunSpec) -> None:
        """Attach to another run; an engine that was only kept warm is ended first."""
        if self.folder != folder:
            await self.drop_warm()
        self.attach(folder, spec)

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
            self._start_new(spec, "wait")
            self._waiting_for = spec.model

    async def drop_warm(self) -> None:
        """End an engine that was started early and never trained, and remove its folder."""
        async with self._changing:
            await self._drop()

    async def _drop(self) -> None:
        if self._waiting_for is not None and self.folder is not None:
            folder = self.folder
            self.detach()
            await self.backend.abandon(folder)

    def _start_new(self, spec: RunSpec, mode: Mode) -> None:
        """Make a run and start its engine. Attached to only when that went well."""
        folder = self.backend.new_run(spec)
        self.backend.launch(folder, mode)
        self.attach(folder, spec)
        self._launched, self._launched_over = True, None

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
            self._start_new(spec, "train")
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

    def stop(self, mode: StopMode = "save") -> AsyncGenerator[AnyReply, None]:
        """End the run: after this step with the model kept, or at once."""
        return self.ask(Stop(id=0, mode=mode))

    def generate(
        self, messages: tuple[ChatMessage, ...], adapter: bool, generation: GenerationSpec, other: str = ""
    ) -> AsyncGenerator[AnyReply, None]:
        """Stream an answer. Close the iterator early, with `aclosing`, and the engine stops within a token."""
        return self.ask(Generate(id=0, messages=messages, adapter=adapter, generation=generation, other=other))

    async def ask(self, command: Command) -> AsyncGenerator[AnyReply, None]:
        """Have the engine carry out a command, such as an `Export`."""
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
