"""A run that failed or was interrupted: why, what to try, and how to resume it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from engine.protocol import events as ev
from engine.protocol.commands import AnyReply, Command, Done, Shutdown
from engine.runs.lock_owner import SavedWork
from tests.helpers import fake_run
from tests.helpers.fake_run import CHANGES, SIZES, FakeBackend, app_on, out_of_memory, screen_text
from tests.helpers.waiting import shown, until
from tui.dialogs.ask import LineDialog
from tui.dialogs.failure import FailureModal
from tui.dialogs.resume import ResumeDialog
from tui.screens import live
from tui.screens.live import LiveScreen
from tui.state import engine_watch
from tui.widgets.list_box import ListBox


async def test_interrupted_run_is_resumed_with_one_key() -> None:
    backend = FakeBackend(alive=False, kept=SavedWork(20, False))
    app = app_on("live", backend, [*fake_run.training(), ev.EngineEnded(exit_code=143)])
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shown(pilot, "The engine is gone", "terminated", "SIGTERM, 143", "Resume from step 20")
        await pilot.press("r")
        await shown(pilot, "Resuming from step 20")
        assert backend.launched == ["resume"]
        assert app.screen.check_action("resume", ()) is False
        backend.feed([*fake_run.training(0)[:1], ev.Resumed(step=20, path="p")])
        await until(pilot, lambda: app.session.state.resumed is not None)
        assert len(app.session.state.loss) == 34  # the earlier steps are still there
        assert isinstance(app.screen, LiveScreen)  # the earlier failure is not shown again


@pytest.mark.parametrize("serving", [True, False], ids=["still there to chat", "gone"])
async def test_run_that_was_stopped_early_goes_on_with_one_key(serving: bool) -> None:
    backend = FakeBackend(alive=serving, kept=SavedWork(30, True))

    async def ends(command: Command) -> AsyncGenerator[AnyReply, None]:
        backend.alive = not isinstance(command, Shutdown)
        yield Done(id=1)

    backend.answer = ends
    events = fake_run.finished("stopped", 34)
    app = app_on("live", backend, events if serving else [*events, ev.EngineEnded(exit_code=0)])
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shown(pilot, "Stopped early", "r Resume")
        await pilot.press("r")
        await shown(pilot, "Resuming from step 30")
        assert [type(command) for command in backend.asked] == ([Shutdown] if serving else [])
        assert backend.launched == ["resume"]


async def test_complete_run_is_not_resumed() -> None:
    app = app_on("live", FakeBackend(kept=SavedWork(60, True)), fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        assert "Resume" not in await shown(pilot, "Training is complete.")
        assert app.screen.check_action("resume", ()) is False


async def test_what_may_be_changed_is_shown_and_checked_before_it_goes_on() -> None:
    backend = FakeBackend(alive=False, kept=SavedWork(20, False))
    app = app_on("live", backend, [*fake_run.training(), ev.EngineEnded(exit_code=143)])
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        await shown(pilot, "Resume from step 20")
        await pilot.press("escape")
        await shown(pilot, "R Resume with …")
        await pilot.press("R")
        text = await shown(pilot, "Resume Who are you", "checkpoint of step 20 of 60", "The 14 steps after that")
        box = app.screen.query_one(ListBox)

        async def put(field: str, value: str) -> None:
            box.highlighted = box.get_option_index(field)
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, LineDialog))
            await pilot.press("end", "ctrl+u", *value, "enter")
            await until(pilot, lambda: isinstance(app.screen, ResumeDialog))

        assert "training.max_steps" in text
        box.highlighted = box.option_count - 1
        await shown(pilot, "Dataset: The order of the rows would change", "LoRA: The adapter's shape is fixed")
        await put("training.max_steps", "15")
        await shown(pilot, "The run is already at step 20")
        await pilot.press("r")
        assert isinstance(app.screen, ResumeDialog), "what cannot be is not started"
        await put("training.max_steps", "200")
        await put("training.per_device_train_batch_size", "1")
        await shown(pilot, "Batch size times accumulation must stay 8")
        await put("training.gradient_accumulation_steps", "8")
        await until(pilot, lambda: "must stay" not in screen_text(app))
        await pilot.press("home", "enter")
        await until(pilot, lambda: backend.launched == ["resume"])
        assert [{change.field: change.value for change in changes} for changes in backend.resumed] == [
            {
                "training.max_steps": "200",
                "training.per_device_train_batch_size": "1",
                "training.gradient_accumulation_steps": "8",
            }
        ]


@pytest.mark.parametrize("key", ["r", "right enter"])
@pytest.mark.parametrize("size", SIZES)
async def test_failure_offers_its_fixes_and_resumes_with_them(size: tuple[int, int], key: str) -> None:
    backend = FakeBackend(alive=False, kept=SavedWork(5, False))
    app = app_on("live", backend, out_of_memory(), ["a line of log"])
    async with app.run_test(size=size) as pilot:
        await shown(
            pilot,
            "Batch size (training.per_device_train_batch_size): 1",
            "Gradient accumulation (training.gradient_accumulation_steps): 8",
        )
        await pilot.press(*key.split())
        await until(pilot, lambda: backend.launched == ["resume"])
        assert backend.resumed == [CHANGES]


async def test_resuming_waits_for_an_engine_that_is_on_its_way_out() -> None:
    backend = FakeBackend(kept=SavedWork(5, False))

    async def ends(command: Command) -> AsyncGenerator[AnyReply, None]:
        backend.alive = not isinstance(command, Shutdown)
        yield Done(id=1)

    backend.answer = ends
    app = app_on("live", backend, out_of_memory()[:-1])
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shown(pilot, "The run failed", "Resume with these")
        await pilot.press("r")
        await shown(pilot, "Resuming from step 5")
        assert [type(command) for command in backend.asked] == [Shutdown]
        assert backend.launched == ["resume"]


async def test_failure_opens_the_wizard_with_its_fixes() -> None:
    app = app_on("live", FakeBackend(alive=False), out_of_memory())
    async with app.run_test(size=(120, 36)) as pilot:
        await shown(pilot, "New run with these")
        await pilot.press("right", "right", "enter")
        await until(pilot, lambda: app._screen_name == "review")
        assert app.draft["training.per_device_train_batch_size"] == 1
        assert app.draft["training.gradient_accumulation_steps"] == 8
        assert app.draft["model.model_name"] == fake_run.SPEC.model.model_name


async def test_failed_run_says_why_and_what_to_try() -> None:
    app = app_on("live", FakeBackend(alive=False), fake_run.failed(), ["Traceback:", "torch.OutOfMemoryError"])
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(
            pilot,
            "The run failed",
            "out_of_memory",
            "The GPU ran out of memory at step 8.",
            "Halve per_device_train_batch_size",
            "torch.OutOfMemoryError",
            "engine.log",
        )
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))
        await shown(pilot, "Failed")  # shown once
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, FailureModal))


async def test_engine_that_died_silently_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(engine_watch, "FINAL_OUTPUT_SECONDS", 0.1)
    backend = FakeBackend()
    app = app_on("live", backend, fake_run.training(7), ["the last words"])
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "Training", "the last words")
        assert isinstance(app.screen, LiveScreen)
        backend.alive = False
        await shown(pilot, "killed without a message", "Start it again", "the last words")
        assert isinstance(app.screen, FailureModal)


async def test_engine_that_ends_properly_is_not_reported_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TICK_SECONDS", 0.05)
    backend = FakeBackend()
    app = app_on("live", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        backend.alive = False
        backend.feed([ev.EngineEnded(exit_code=0)])
        await pilot.pause(0.6)  # many ticks
        assert isinstance(app.screen, LiveScreen)


async def test_killed_engine_of_a_trained_run_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(engine_watch, "FINAL_OUTPUT_SECONDS", 0.1)
    app = app_on("live", FakeBackend(alive=False), fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.5)  # many ticks, and the time for final events
        assert isinstance(app.screen, LiveScreen)
        assert "Finished" in screen_text(app)
        assert app.screen.check_action("chat", ()) is True
