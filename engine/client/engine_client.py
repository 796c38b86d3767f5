"""A run and its engine, for terminal and command line: start it, follow it, send it commands, end it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from engine.client.backend import END_SECONDS, Backend, EventSource, wait_until
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
    TryRewards,
)
from engine.protocol.events import AnyEvent, EngineStarted
from engine.protocol.state import RunState
from engine.runs.folder import RunFolder
from engine.runs.resumable import is_resumable, is_trained

POLLS_AT_ONCE = 8  # 40,000 steps in about 80 ms; keys are handled in between


class EngineClient:
    """`folder`, `spec`, `state`: of the attached run. `log_line`: the log line that its engine is writing."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.folder: RunFolder | None = None
        self.spec: RunSpec | None = None
        self.state = RunState()
        self.log_line = ""
        self.has_unshown = False  # whether `catch_up` read events that no `poll` reported
        self._launched = False  # whether an engine was started here on this folder
        self._previous_engine: EngineStarted | None = None  # the engine before the launched one
        self._warm_model: ModelSpec | None = None
        self._changing = asyncio.Lock()  # starting and ending a warm engine must not overlap
        self._events: EventSource | None = None

    def attach(self, folder: RunFolder, spec: RunSpec | None = None) -> None:
        """Follow this run from its first event, whether its engine is alive or not."""
        self._launched = self._launched and folder == self.folder
        self.folder, self.spec, self.state = folder, spec, RunState()
        self._warm_model = None
        self._events = self.backend.events(folder)

    def detach(self) -> None:
        """Follow no run."""
        self.folder, self.spec, self.state = None, None, RunState()
        self._warm_model = self._events = None

    def read_events(self) -> list[AnyEvent]:
        """Read and apply new events, a limited number at a time: see `has_more`."""
        events = self._events.poll() if self._events else []
        for event in events:
            self.state.apply(event)
        return events

    def poll(self) -> bool:
        """Read what happened since the last call; returns whether anything did. Cheap when nothing did."""
        changed = False
        for _ in range(POLLS_AT_ONCE):
            changed = bool(self.read_events()) or changed
            if not self.has_more:
                break
        return changed

    @property
    def has_more(self) -> bool:
        """Whether more events can be read at once."""
        return self._events is not None and self._events.has_more

    async def catch_up(self) -> None:
        """Read all events so far, so that the complete curve is drawn at once. Keys are handled in between."""
        while self.poll():
            self.has_unshown = True
            if not self.has_more:
                return
            await asyncio.sleep(0)

    @property
    def alive(self) -> bool:
        return self.folder is not None and self.backend.is_alive(self.folder)

    @property
    def warm(self) -> bool:
        """Whether the engine was started early and has not been asked to train yet."""
        return self._warm_model is not None

    @property
    def warm_model(self) -> ModelSpec | None:
        """The model of the warm engine, loading or loaded; None without one."""
        return self._warm_model

    @property
    def lost(self) -> bool:
        """Whether the engine died without a final event: killed, or out of memory."""
        return self.state.started is not None and self.state.ended is None and not self.alive

    @property
    def is_launching(self) -> bool:
        """Whether an engine was started here and has not written an event yet: `state` is of the one before."""
        return (
            self._launched
            and self.folder is not None
            and self.state.started == self._previous_engine
            and not self.backend.is_gone(self.folder)
        )

    def serve(self, mode: Mode = "serve") -> None:
        """Start an engine on the attached run, for chat or export. Raises OSError."""
        if self.folder is not None and not self.alive and not self.is_launching:
            self.backend.launch(self.folder, mode)
            self._launched, self._previous_engine = True, self.state.started

    def is_resumable(self, checkpoint: int | None) -> bool:
        """Whether training can be resumed once the engine has exited. `checkpoint`: the newest one's step."""
        if self.folder is None or self.is_launching:
            return False
        return is_resumable(self.state, is_trained(self.folder, self.state), checkpoint)

    def resume(self, changes: tuple[Change, ...] = ()) -> None:
        """Resume the attached run, whose engine has exited. Raises `SpecError` or OSError."""
        if self.folder is not None and not self.alive and not self.is_launching:
            self.spec = self.backend.resume(self.folder, changes)
            self._launched, self._previous_engine = True, self.state.started

    async def shut_down(self, folder: RunFolder) -> None:
        """End an engine that only serves, to free its GPU: everything it has is saved."""
        with suppress(UserError, OSError):
            async for _reply in self.backend.ask(folder, Shutdown(id=0)):
                pass
        await wait_until(lambda: not self.backend.is_alive(folder), END_SECONDS)

    async def switch_to(self, folder: RunFolder, spec: RunSpec) -> None:
        """Attach to another run; a warm engine is ended first."""
        if self.folder != folder:
            await self.drop_warm()
        self.attach(folder, spec)

    async def warm_up(self, spec: RunSpec) -> None:
        """Start an engine that loads the spec's model, unless the warm engine does so already.

        Raises `SpecError` or OSError when no run folder or process can be created.
        """
        async with self._changing:
            broken = self.state.failed or self.state.ended or self.lost
            if self._warm_model == spec.model and self._scores_alike(spec) and not broken:
                return
            await self._drop()
            # The engine writes the final spec into the folder when it is asked to train.
            self._start_new(spec, "wait")
            self._warm_model = spec.model

    async def drop_warm(self) -> None:
        """End an engine that was started early and never trained, and delete its folder."""
        async with self._changing:
            await self._drop()

    async def _drop(self) -> None:
        if self._warm_model is not None and self.folder is not None:
            folder, failed = self.folder, self.state.failed or not (self.alive or self.is_launching)
            self.detach()
            if not failed:  # else its log says why, until the draft is too old: see `delete_drafts`
                await self.backend.abandon(folder)

    def _start_new(self, spec: RunSpec, mode: Mode) -> None:
        """Create a run, start its engine and attach to it; on an error the attached run stays."""
        folder = self.backend.new_run(spec)
        self.backend.launch(folder, mode)
        self.attach(folder, spec)
        self._launched, self._previous_engine = True, None

    async def train(self, spec: RunSpec) -> AsyncGenerator[AnyReply, None]:
        """Train with `spec`: in the warm engine if it has the model, else in a new one.

        Attaches to the run; iterate over the replies to see a refusal. An engine that is still loading keeps the
        request, and trains even if this terminal has been closed by then. Raises
        `SpecError`, `UserError` or OSError.
        """
        async with self._changing:
            if self.folder is not None and self._warm_engine_fits(spec):
                self.spec, self._warm_model = spec, None
                return self._request_training(self.folder, spec)
            await self._drop()
            self._start_new(spec, "train")
            return _no_replies()

    async def _request_training(self, folder: RunFolder, spec: RunSpec) -> AsyncGenerator[AnyReply, None]:
        async for reply in self.backend.ask(folder, Train(id=0, spec=spec)):
            if isinstance(reply, Refused) and self.folder == folder:
                self._warm_model = spec.model  # it is still warm
            yield reply

    def _warm_engine_fits(self, spec: RunSpec) -> bool:
        """Whether the warm engine can train this spec: same model, loaded alike, same output folder."""
        return (
            self._warm_model == spec.model
            and self._scores_alike(spec)
            and self.spec is not None
            and self.spec.training.output_dir == spec.training.output_dir
            and self.state.stage in ("starting", "loading", "ready")
            and self.alive
        )

    def _scores_alike(self, spec: RunSpec) -> bool:
        """Whether both the attached run and this spec need a score head, or neither does."""
        return self.spec is not None and self.spec.scores == spec.scores

    def stop(self, mode: StopMode = "save") -> AsyncGenerator[AnyReply, None]:
        """Stop the run: after this step, saving the model, or at once."""
        return self.ask(Stop(id=0, mode=mode))

    def generate(
        self, messages: tuple[ChatMessage, ...], adapter: bool, generation: GenerationSpec, other: str = ""
    ) -> AsyncGenerator[AnyReply, None]:
        """Stream an answer. Close the iterator early, with `aclosing`, and the engine stops within a token."""
        return self.ask(Generate(id=0, messages=messages, adapter=adapter, generation=generation, other=other))

    def try_rewards(self, spec: RunSpec) -> AsyncGenerator[AnyReply, None]:
        """Try the rewards of a spec with the base model: see `TryRewards`."""
        return self.ask(TryRewards(id=0, spec=spec))

    async def ask(self, command: Command) -> AsyncGenerator[AnyReply, None]:
        """Send the engine a command, such as an `Export`; yields its replies."""
        if self.folder is None:
            return
        async with aclosing(self.backend.ask(self.folder, command)) as replies:
            async for reply in replies:
                yield reply


async def _no_replies() -> AsyncGenerator[AnyReply, None]:
    """The replies of an engine that was sent no request: it reads its spec from its folder."""
    none: tuple[AnyReply, ...] = ()
    for reply in none:
        yield reply
