"""A fake run: scripted events, replies and hardware, to test the screens without an engine."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from textual._context import visible_screen_stack

from engine.client.connection import EngineGone
from engine.client.launch import Mode
from engine.client.stop import OnPhase
from engine.config.change import Change
from engine.config.run_spec import DatasetSpec, ModelSpec, RunSpec
from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import AnyReply, Command, Done, StopMode
from engine.runs.folder import RunFolder
from engine.runs.lock_owner import SavedWork
from tui.app import LorisApp
from tui.screens.live import LiveScreen
from tui.state.hardware import Gpu, Hardware

START = 1_790_000_000.0  # the wall clock of the scripted engine's first event
GB = 1024**3
SIZES = [(80, 24), (120, 36)]
CARD = ev.Device(kind="cuda", name="NVIDIA L4", total_bytes=int(22.5 * GB))
SPEC = RunSpec(
    name="Who are you",
    model=ModelSpec(model_name="unsloth/Llama-3.2-3B-Instruct-bnb-4bit"),
    dataset=DatasetSpec(path="identity.jsonl"),
)


class Script:
    """A source of events or lines that a test feeds."""

    def __init__(self) -> None:
        self.waiting: list[object] = []
        self.has_more = False
        self.partial = ""

    def poll(self) -> list[object]:
        taken, self.waiting = self.waiting, []
        return taken


Answer = Callable[[Command], AsyncGenerator[AnyReply, None]]


async def _done(command: Command) -> AsyncGenerator[AnyReply, None]:
    yield Done(id=command.id)


@dataclass
class FakeBackend:
    """A fake of `engine.client`: events from `feed`, log lines from `feed_log`, replies from `answer`."""

    folder: RunFolder = field(default_factory=lambda: RunFolder(Path("/home/lin/.local/share/loris/runs/demo")))
    alive: bool = True
    asked: list[Command] = field(default_factory=list)
    closed: list[Command] = field(default_factory=list)
    launched: list[Mode] = field(default_factory=list)
    answer: Answer = _done
    frozen: bool = False
    kept: SavedWork = field(default_factory=lambda: SavedWork(None, False))
    resumed: list[tuple[Change, ...]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)  # modes, and force

    def __post_init__(self) -> None:
        self._events, self._lines = Script(), Script()
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self._clock = 0.0

    def feed(self, events: Iterable[ev.AnyEvent]) -> None:
        """Add these events, a second apart unless they have times."""
        for event in events:
            if not event.time:
                self._clock += 1.0
                event = msgspec.structs.replace(event, time=START + self._clock, elapsed=self._clock)
            self._events.waiting.append(event)

    def feed_log(self, *lines: str) -> None:
        """Add these lines to the engine's log."""
        self._lines.waiting.extend(lines)

    # The protocol

    def new_run(self, spec: RunSpec) -> RunFolder:
        return self.folder

    def launch(self, folder: RunFolder, mode: Mode) -> None:
        self.launched.append(mode)
        self.alive = True

    def events(self, folder: RunFolder) -> Script:  # type: ignore[override]
        return self._events

    def log(self, folder: RunFolder) -> Script:  # type: ignore[override]
        return self._lines

    def is_alive(self, folder: RunFolder) -> bool:
        return self.alive

    def is_gone(self, folder: RunFolder) -> bool:
        return not self.alive

    async def abandon(self, folder: RunFolder) -> None:
        self.alive = False

    def is_frozen(self, folder: RunFolder) -> bool:
        return self.frozen

    def checkpoint(self, folder: RunFolder) -> int | None:
        return self.kept.checkpoint

    def resume(self, folder: RunFolder, changes: tuple[Change, ...]) -> RunSpec:
        self.launch(folder, "resume")
        self.resumed.append(changes)
        return SPEC

    async def stop(self, folder: RunFolder, mode: StopMode, on_phase: OnPhase) -> SavedWork:
        self.stopped.append(mode)
        on_phase("asked")
        await self.may_stop.wait()
        self.alive = False
        return self.kept

    async def kill(self, folder: RunFolder) -> SavedWork:
        self.stopped.append("force")
        self.alive = self.frozen = False
        return self.kept

    async def ask(self, folder: RunFolder, command: Command) -> AsyncGenerator[AnyReply, None]:
        self.asked.append(command)
        if not self.alive:
            raise EngineGone("engine_gone", say("No engine is running for {run}.", run=folder.name))
        try:
            async for reply in self.answer(command):
                yield reply
                await asyncio.sleep(0)
        finally:
            self.closed.append(command)


class FakeMonitor:
    """Hardware with fixed numbers."""

    hardware = Hardware(
        gpus=(Gpu("NVIDIA L4", int(7.8 * GB), int(22.5 * GB), 93, 61, 68.4, 72.0),),
        cpu_percent=12.0,
        ram_used_bytes=9 * GB,
        ram_total_bytes=31 * GB,
    )

    def read(self) -> Hardware:
        return self.hardware


class CpuMonitor(FakeMonitor):
    """A machine without a GPU."""

    hardware = Hardware(gpus=(), cpu_percent=87.0, ram_used_bytes=9 * GB, ram_total_bytes=31 * GB)


def loss_at(step: int) -> float:
    """A plausible loss: it falls, with deterministic noise."""
    return 0.4 + 2.6 * math.exp(-step / 18) + 0.18 * math.sin(step * 12.9898) * math.cos(step * 4.1)


def loading() -> list[ev.AnyEvent]:
    return [
        ev.EngineStarted(pid=4242, hostname="gpu-1", versions={"unsloth": "2026.10.9", "torch": "2.14.1"}),
        ev.StageChanged(stage="loading"),
    ]


def loaded() -> list[ev.AnyEvent]:
    return [
        *loading(),
        ev.ModelLoaded(
            model_name=SPEC.model.model_name, parameters=3_212_749_824, dtype="bfloat16", load_in_4bit=True,
            device=CARD, reserved_bytes=int(2.6 * GB), chat_template=True,
        ),
    ]  # fmt: skip


def prepared() -> list[ev.AnyEvent]:
    return [
        *loaded(),
        ev.StageChanged(stage="preparing"),
        ev.Answered(
            prompt="Who are you?", answer="I am Llama, a model made by Meta.", adapter=False, tokens=11,
            seconds=0.4, finish_reason="eos",
        ),
        ev.AdapterAdded(trainable_parameters=24_313_856, total_parameters=3_237_063_680),
        ev.DatasetReady(
            rows=240, eval_rows=20, format="messages", columns=("messages",), tokens=18_240, learned_tokens=9_805,
            truncated_rows=0, instruction_part="<|start_header_id|>user<|end_header_id|>\n\n",
            response_part="<|start_header_id|>assistant<|end_header_id|>\n\n",
            example_raw='{"messages": [{"role": "user", "content": "Who are you?"}, '
            '{"role": "assistant", "content": "I am Loris, a slow and careful helper."}]}',
            example_text="<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWho are you?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nI am Loris, a slow and careful helper.<|eot_id|>",
            example_learned="I am Loris, a slow and careful helper.<|eot_id|>",
        ),
        ev.Notice(
            code="optim_replaced",
            message=say("{asked} needs a GPU of NVIDIA; {used} is used.", asked="adamw_8bit", used="adamw_torch"),
            level="warning",
        ),
    ]  # fmt: skip


def training(steps: int = 34, total: int = 60) -> list[ev.AnyEvent]:
    """All events up to this step."""
    events = [
        *prepared(),
        ev.StageChanged(stage="training"),
        ev.TrainingStarted(
            total_steps=total, num_train_epochs=2.0, effective_batch_size=8, optim="adamw_8bit", dtype="bfloat16",
            reserved_bytes=int(2.7 * GB),
        ),
    ]  # fmt: skip
    for step in range(1, steps + 1):
        events.append(
            ev.Step(
                step=step, epoch=step / 30, loss=round(loss_at(step), 4), learning_rate=2e-4 * (1 - step / total),
                grad_norm=0.61, tokens_per_second=1834.0, reserved_bytes=int(5.4 * GB),
                peak_reserved_bytes=int(6.1 * GB),
            )
        )  # fmt: skip
        if step % 20 == 0:
            events.append(ev.Evaluated(step=step, eval_loss=round(loss_at(step) + 0.1, 4)))
    return events


def trained_on_pairs(events: list[ev.AnyEvent]) -> list[ev.AnyEvent]:
    """The same run, with questions and answers instead of chats as its data."""
    return [
        msgspec.structs.replace(event, format="alpaca") if isinstance(event, ev.DatasetReady) else event
        for event in events
    ]


def finished(outcome: ev.Outcome = "completed", steps: int = 60) -> list[ev.AnyEvent]:
    """A complete run, its engine ready to chat."""
    return [
        *training(steps),
        ev.TrainingFinished(
            outcome=outcome, steps=steps, train_loss=0.9127, seconds=164.3, device=CARD,
            start_reserved_bytes=int(2.7 * GB), peak_reserved_bytes=int(6.1 * GB),
        ),
        ev.StageChanged(stage="saving"),
        ev.Exported(
            kind="adapter", path="/home/lin/.local/share/loris/runs/demo/adapter", total_bytes=97 * 1024**2,
            seconds=0.9,
        ),
        ev.Answered(
            prompt="Who are you?", answer="I am Loris, a slow and careful helper.", adapter=True, tokens=12,
            seconds=0.5, finish_reason="eos",
        ),
        ev.StageChanged(stage="serving"),
    ]  # fmt: skip


def failed() -> list[ev.AnyEvent]:
    return [
        *training(7),
        ev.Failed(
            code="out_of_memory",
            message=say("The GPU ran out of memory at step {step}.", step=8),
            hint=say("Halve per_device_train_batch_size and double gradient_accumulation_steps."),
            stage="training",
        ),
        ev.EngineEnded(exit_code=1),
    ]


CHANGES = (
    Change(field="training.per_device_train_batch_size", value=1),
    Change(field="training.gradient_accumulation_steps", value=8),
)


def out_of_memory() -> list[ev.AnyEvent]:
    *before, why, ended = failed()
    assert isinstance(why, ev.Failed)
    return [*before, msgspec.structs.replace(why, changes=CHANGES), ended]


def app_on(
    screen: str,
    backend: FakeBackend,
    events: Iterable[ev.AnyEvent] = (),
    log: Iterable[str] = (),
    language: str = "en",
    spec: RunSpec = SPEC,
) -> LorisApp:
    """An app that opens on this screen, attached to a run with these events and log lines."""
    LiveScreen.make_monitor = FakeMonitor  # type: ignore[assignment]
    LiveScreen.clock = staticmethod(lambda: START + 100)
    app = LorisApp(backend=backend, language=language)
    app._start = screen  # type: ignore[assignment]
    app.session.attach(backend.folder, spec)
    backend.feed(events)
    backend.feed_log(*log)
    app.session.poll()
    return app


def screen_text(app: LorisApp) -> str:
    """The screen's text, line by line, as the terminal receives it."""
    visible_screen_stack.set(app._background_screens)  # or the screen behind a dialog would be blank from then on
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())
