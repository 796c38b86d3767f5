"""Stopping the run on the screen in steps: each is confirmed, and what survives is listed."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec
import pytest

from engine.config.run_spec import ExportSpec
from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import AnyReply, Command, Refused, Stop
from engine.runs.lock_owner import SavedWork
from tests.helpers import fake_run
from tests.helpers.fake_run import FakeBackend, app_on
from tests.helpers.waiting import shown, until
from tui.screens import live
from tui.screens.live import LiveScreen


async def test_stop_asks_once_and_keeps_the_model() -> None:
    backend = FakeBackend()
    app = app_on("live", backend, fake_run.training())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("x")
        await shown(pilot, "Stop training and keep the model?", "34 of 60 steps are done")
        await pilot.press("enter")  # the safe choice has the focus
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))
        assert backend.asked == []
        await pilot.press("x")
        await shown(pilot, "Stop training and keep the model?")
        await pilot.press("right", "enter")
        await until(pilot, lambda: [type(command) for command in backend.asked] == [Stop])
        backend.feed(fake_run.finished("stopped", 35)[-5:])
        await shown(pilot, "Stopped early. The model was kept.")


async def test_the_command_after_the_run_is_named_before_an_early_stop() -> None:
    """It runs all the same once everything is carried out: it may shut the machine down."""
    spec = msgspec.structs.replace(fake_run.SPEC, export=ExportSpec(after_command="poweroff"))
    app = app_on("live", FakeBackend(), fake_run.training(), spec=spec)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("x")
        await shown(pilot, "this command runs, if it was confirmed: poweroff")


@pytest.mark.parametrize(
    ("stage", "question", "mode"),
    [("training", "keep the model?", "save"), ("saving", "it is lost", "now"), ("exporting", "--rest", "now")],
)
async def test_the_stop_does_what_its_question_says(stage: ev.Stage, question: str, mode: str) -> None:
    backend = FakeBackend()
    missing = [ev.Undelivered(missing=("merged_16bit",))] if stage == "exporting" else []
    app = app_on("live", backend, [*fake_run.training(), *missing, ev.StageChanged(stage=stage)])
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("x")
        await shown(pilot, question)
        await pilot.press("right", "enter")
        await until(pilot, lambda: [c.mode for c in backend.asked if isinstance(c, Stop)] == [mode])


async def test_refused_stop_is_shown() -> None:
    async def refuse(command: Command) -> AsyncGenerator[AnyReply, None]:
        yield Refused(id=1, code="not_training", message=say("Nothing is [/being] trained."))

    app = app_on("live", FakeBackend(answer=refuse), fake_run.training())
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("x")
        await shown(pilot, "Stop training and keep the model?")
        await pilot.press("right", "enter")
        await shown(pilot, "Nothing is [/being] trained.")
        assert app.screen.check_action("stop", ()) is True


async def test_stop_climbs_the_ladder_and_names_what_survived() -> None:
    backend = FakeBackend(kept=SavedWork(30, False))
    app = app_on("live", backend, fake_run.training())
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shown(pilot, "Training")
        for question, answer in (
            ("Stop training and keep the model?", "Stopping …"),
            ("Stop at once?", "Stopping at once …"),
            ("Terminate the engine?", "Terminating it …"),
        ):
            await pilot.press("x")
            await shown(pilot, question)
            await pilot.press("right", "enter")
            await shown(pilot, answer)
        await shown(pilot, "The checkpoint of step 30")
        assert [command.mode for command in backend.asked if isinstance(command, Stop)] == ["save", "now"]
        assert backend.stopped == ["force"]


async def test_frozen_engine_is_reported_and_ended_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TICK_SECONDS", 0.05)
    backend = FakeBackend(frozen=True)
    app = app_on("live", backend, fake_run.training())
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "Frozen: its process was stopped by a signal")
        await pilot.press("x")
        await shown(pilot, "kill -STOP", "It has 10 s to save a checkpoint")
        await pilot.press("right", "enter")
        await until(pilot, lambda: backend.stopped == ["force"])
