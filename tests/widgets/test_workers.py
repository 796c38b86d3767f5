"""Screens closed while their workers run: the widgets go first, and nothing fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from textual import work
from textual.app import App, ComposeResult
from textual.css.query import NoMatches
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import WorkerFailed

from engine.protocol.commands import AnyReply, Command, Token
from engine.runs.folder import RunFolder
from tests.helpers import fake_run
from tests.helpers.fake_run import FakeBackend, app_on, screen_text
from tests.helpers.waiting import until
from tui.dialogs.modal import Modal
from tui.screens import export
from tui.screens.base import LorisScreen
from tui.screens.chat import ChatScreen
from tui.widgets.workers import GuardedWorkers


class SlowUnmount(Widget):
    """Extends the moment in which a screen's other widgets are gone and its workers still run."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go = asyncio.Event()

    async def on_unmount(self) -> None:
        await self.may_go.wait()


async def delay_close(pilot: Pilot[Any], widget: str) -> Callable[[], bool]:
    """Delay the closing of the screen. Returns a check that this widget is gone."""
    screen, slow = pilot.app.screen, SlowUnmount()
    await screen.mount(slow)
    screen.release = slow.may_go.set  # type: ignore[attr-defined]
    return lambda: not screen.query(widget)


@pytest.mark.parametrize("ends", [False, True], ids=["another screen", "the app ends"])
async def test_a_plan_that_arrives_when_the_screen_closes(
    ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_plan, begun, planned = threading.Event(), threading.Event(), export.plan

    def slow_plan(*arguments: Any) -> Any:
        begun.set()
        assert may_plan.wait(10)
        return planned(*arguments)

    app = app_on("save", FakeBackend(folder=RunFolder(tmp_path)), fake_run.finished())
    async with app.run_test() as pilot:
        await until(pilot, lambda: "Free there" in screen_text(app))
        left: Any = app.screen
        gone = await delay_close(pilot, "#target")
        monkeypatch.setattr(export, "plan", slow_plan)
        left._update_plan()
        await until(pilot, begun.is_set)
        worker = next(iter(w for w in app.workers if w.group == "look" and w.is_running))

        async def come_when_gone() -> None:
            try:
                await wait_until(gone)
                may_plan.set()
                await wait_until(lambda: worker.is_finished)
            finally:
                left.release()

        coming = asyncio.create_task(come_when_gone())
        if not ends:
            app.go("live")
            await coming
    await coming


async def wait_until(holds: Callable[[], bool]) -> None:
    """Wait up to 5 s for a condition while the app may be ending."""
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError


async def test_an_answer_that_is_stopped_by_leaving(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def slow(command: Command) -> AsyncGenerator[AnyReply, None]:
        yield Token(id=1, text="half")
        await go_on.wait()
        yield Token(id=1, text=" more")

    app = app_on("chat", FakeBackend(folder=RunFolder(tmp_path), answer=slow), fake_run.finished())
    async with app.run_test() as pilot:
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        left: Any = app.screen
        gone = await delay_close(pilot, "#state")
        await pilot.press("a", "enter")
        await until(pilot, lambda: bool(app.session.turns) and app.session.turns[-1].answers[0].text == "half")
        try:
            app.go("live")
            await wait_until(gone)
            go_on.set()
            await wait_until(lambda: left._asking is None)
        finally:
            left.release()
    assert app.session.turns[-1].answers[0].text.startswith("half")


class Broken(GuardedWorkers, Screen[None]):
    """Queries a widget that it never had."""

    def compose(self) -> ComposeResult:
        yield Static("here")

    @work
    async def wait(self) -> None:
        self.query_one("#nowhere")

    @work(thread=True)
    def call(self) -> None:
        self.query_one("#nowhere")


@pytest.mark.parametrize("kind", ["wait", "call"])
async def test_a_failure_on_an_open_screen_is_raised(kind: str) -> None:
    async def run() -> None:
        app: App[None] = App()
        async with app.run_test():
            screen = Broken()
            await app.push_screen(screen)
            await getattr(screen, kind)().wait()

    with pytest.raises(WorkerFailed) as failed:
        await run()
    assert isinstance(failed.value.error, NoMatches)


def test_every_screen_and_dialog_has_such_workers() -> None:
    assert issubclass(LorisScreen, GuardedWorkers)
    assert issubclass(Modal, GuardedWorkers)
