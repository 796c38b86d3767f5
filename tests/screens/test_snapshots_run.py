"""Pictures of the run screens, in both languages and sizes, with a fixed clock and hardware."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import AnyReply, Command, Done, Generate, Token
from engine.runs.folder import RunFolder
from engine.runs.lock_owner import SavedWork
from tests.helpers import fake_run
from tests.helpers.fake_run import CpuMonitor, FakeBackend, app_on, out_of_memory
from tests.helpers.waiting import still
from tui.screens.live import LiveScreen

pytestmark = [
    pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=["80x24", "120x36"]),
    pytest.mark.parametrize("language", ["en", "zh"]),
]
Compare = Callable[..., bool]
Size = tuple[int, int]
LOG = [f"{{'loss': {fake_run.loss_at(i):.4f}, 'grad_norm': 0.61, 'epoch': {i / 30:.2f}}}" for i in range(1, 35)]


async def answers(command: Command) -> AsyncGenerator[AnyReply, None]:
    assert isinstance(command, Generate)
    said = "I am Loris, a slow and careful helper." if command.adapter else "I am Llama, a model made by Meta. " * 4
    yield Token(id=1, text=said)
    yield Done(id=1, tokens=24, seconds=0.6, finish_reason="eos" if command.adapter else "length")


async def begins(command: Command) -> AsyncGenerator[AnyReply, None]:
    yield Token(id=1, text="I am Lo")
    import asyncio

    await asyncio.sleep(3600)


def press(*keys: str, wait: float = 0.4) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def before(pilot: Pilot[Any]) -> None:
        await still(pilot, 0.2)
        await pilot.press(*keys)
        await still(pilot, wait)

    return before


def test_starting(snap_compare: Compare, size: Size, language: str) -> None:
    app = app_on("live", FakeBackend(), fake_run.loading(), language=language)
    assert snap_compare(app, terminal_size=size, run_before=press())


def test_running(snap_compare: Compare, size: Size, language: str) -> None:
    app = app_on("live", FakeBackend(), fake_run.training(), LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press())


def test_running_without_a_card(
    snap_compare: Compare, size: Size, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_on("live", FakeBackend(), fake_run.training(), LOG, language)
    monkeypatch.setattr(LiveScreen, "make_monitor", CpuMonitor)
    assert snap_compare(app, terminal_size=size, run_before=press("3"))


def test_data(snap_compare: Compare, size: Size, language: str) -> None:
    app = app_on("live", FakeBackend(), fake_run.training(), LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press("4"))


def test_finished(snap_compare: Compare, size: Size, language: str) -> None:
    app = app_on("live", FakeBackend(), fake_run.finished(), LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press())


def test_answers(snap_compare: Compare, size: Size, language: str) -> None:
    app = app_on("live", FakeBackend(), fake_run.finished(), LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press("5"))


def test_failed(snap_compare: Compare, size: Size, language: str) -> None:
    app = app_on("live", FakeBackend(alive=False), fake_run.failed(), LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press())


def test_asked_to_stop(snap_compare: Compare, size: Size, language: str) -> None:
    app = app_on("live", FakeBackend(), fake_run.training(), LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press("x"))


def test_chat_empty(snap_compare: Compare, size: Size, language: str) -> None:
    app = app_on("chat", FakeBackend(), fake_run.finished(), language=language)
    assert snap_compare(app, terminal_size=size, run_before=press())


def test_chat_streaming(snap_compare: Compare, size: Size, language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.text.amounts.rate", lambda tokens, seconds: "")
    monkeypatch.setattr("tui.state.chat_turns.rate", lambda tokens, seconds: "")
    app = app_on("chat", FakeBackend(answer=begins), fake_run.finished(), language=language)
    assert snap_compare(app, terminal_size=size, run_before=press(*"who?", "enter", wait=0.6))


def test_chat_compare(snap_compare: Compare, size: Size, language: str) -> None:
    app = app_on("chat", FakeBackend(answer=answers), fake_run.finished(), language=language)
    assert snap_compare(app, terminal_size=size, run_before=press(*"who?", "ctrl+r", wait=0.8))


def test_chat_settings(snap_compare: Compare, size: Size, language: str) -> None:
    app = app_on("chat", FakeBackend(), fake_run.finished(), language=language)
    assert snap_compare(app, terminal_size=size, run_before=press("ctrl+g"))


def test_save(snap_compare: Compare, size: Size, language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.export.plan.write_problem", lambda folder: None)
    usage = type("Usage", (), {"free": 120 * fake_run.GB})
    monkeypatch.setattr("engine.export.plan.shutil.disk_usage", lambda path: usage)
    backend = FakeBackend(folder=RunFolder(Path("/data/loris/runs/demo")))
    app = app_on("save", backend, fake_run.finished(), language=language)
    assert snap_compare(app, terminal_size=size, run_before=press(wait=0.6))


def test_save_refused(snap_compare: Compare, size: Size, language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "engine.export.plan.write_problem", lambda folder: say("Nothing can be written in {x}.", x="/data")
    )
    monkeypatch.setattr("engine.export.plan.shutil.disk_usage", lambda path: type("Usage", (), {"free": 0}))
    backend = FakeBackend(folder=RunFolder(Path("/data/loris/runs/demo")))
    app = app_on("save", backend, [*fake_run.finished(), ev.StageChanged(stage="serving")], language=language)
    assert snap_compare(app, terminal_size=size, run_before=press("ctrl+s", wait=0.6))


def test_leaving(snap_compare: Compare, size: Size, language: str) -> None:
    app = app_on("live", FakeBackend(), fake_run.training(), LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press("ctrl+q"))


def test_interrupted(snap_compare: Compare, size: Size, language: str) -> None:
    backend = FakeBackend(alive=False, kept=SavedWork(20, False))
    app = app_on("live", backend, [*fake_run.training(), ev.EngineEnded(exit_code=143)], LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press())


def test_interrupted_seen_through(snap_compare: Compare, size: Size, language: str) -> None:
    backend = FakeBackend(alive=False, kept=SavedWork(20, False))
    app = app_on("live", backend, [*fake_run.training(), ev.EngineEnded(exit_code=143)], LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press("escape"))


def test_resume_with(snap_compare: Compare, size: Size, language: str) -> None:
    backend = FakeBackend(alive=False, kept=SavedWork(20, False))
    app = app_on("live", backend, [*fake_run.training(), ev.EngineEnded(exit_code=143)], LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press("escape", "R", "end"))


def test_stopped_early(snap_compare: Compare, size: Size, language: str) -> None:
    backend = FakeBackend(kept=SavedWork(30, True))
    app = app_on("live", backend, fake_run.finished("stopped", 34), LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press())


def test_stop_by_force(snap_compare: Compare, size: Size, language: str) -> None:
    app = app_on("live", FakeBackend(frozen=True), fake_run.training(), LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press("x"))


def test_stopping(snap_compare: Compare, size: Size, language: str) -> None:
    backend = FakeBackend()
    backend.may_stop.clear()
    app = app_on("live", backend, fake_run.training(), LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press("ctrl+q", "down", "enter"))


def test_frozen(snap_compare: Compare, size: Size, language: str) -> None:
    app = app_on("live", FakeBackend(frozen=True), fake_run.training(), LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press(wait=1.3))


def test_stop_at_once(snap_compare: Compare, size: Size, language: str) -> None:
    app = app_on("live", FakeBackend(), fake_run.training(), LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press("x", "right", "enter", "x"))


def test_failed_with_fixes(snap_compare: Compare, size: Size, language: str) -> None:
    backend = FakeBackend(alive=False, kept=SavedWork(5, False))
    app = app_on("live", backend, out_of_memory(), LOG, language)
    assert snap_compare(app, terminal_size=size, run_before=press())
