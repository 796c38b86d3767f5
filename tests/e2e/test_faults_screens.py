"""What the screens do about a real run: two of them at once, the stop ladder, failures, one key to go on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.config.run_spec import RunSpec
from engine.protocol import events as ev
from engine.runs.run_list import is_alive, summarise
from tests.helpers.app_on_engine import (
    TRUTH_SECONDS,
    Engines,
    app_of,
    attached,
    check_folder,
    check_status,
    dialog_text,
    engines,
    loris,
    shows,
    status,
    until,
)
from tests.helpers.engine_process import Engine
from tests.helpers.fake_run import screen_text
from tests.helpers.short_run import small
from tui.dialogs.failure import FailureModal
from tui.screens.home import HomeScreen
from tui.state.settings import Settings, save_settings
from tui.widgets.list_box import ListBox

__all__ = ["engines"]  # a fixture


async def say_yes(pilot: Pilot[None], question: str) -> None:
    """Answer a question with its second button."""
    await shows(pilot, question)
    await pilot.press("right", "enter")


async def test_two_tuis_attached(engines: Engines, demo: RunSpec) -> None:
    """Both show the same; both stop it at the same moment; both show the end, and one of them goes on with it."""
    engine = engines.start("two", small(demo, max_steps=40), LORIS_FAULT="slow@0.15")
    async with attached(engine) as one, attached(engine, (120, 36)) as two:
        first, second = app_of(one).session, app_of(two).session
        for pilot, session in ((one, first), (two, second)):
            await until(pilot, lambda session=session: len(session.state.loss) >= 3)
            await shows(pilot, "Training", "/40")
        both = min(len(first.state.loss), len(second.state.loss))
        assert list(first.state.loss.values)[:both] == list(second.state.loss.values)[:both]
        for pilot in (one, two):
            await pilot.press("x")
            await shows(pilot, "Stop training and keep the model?")
            await pilot.press("right")
        await asyncio.gather(one.press("enter"), two.press("enter"))
        assert "has stopped" in await asyncio.to_thread(
            loris, "stop", "two"
        )  # and a third, which waits for the end
        for pilot, session in ((one, first), (two, second)):
            await until(pilot, lambda session=session: session.state.ended)
            await shows(pilot, "Stopped early", seconds=TRUTH_SECONDS)
        assert first.state.loss == second.state.loss
        assert first.state.finished == second.state.finished
        assert len(engine.events_of(ev.TrainingFinished)) == len(engine.events_of(ev.Exported)) == 1
        found = status(engine)
        assert (found["state"], found["trained"], found["step"]) == ("stopped", True, len(first.state.loss))
        assert 3 <= found["step"] < 40
        check_folder(engine.folder)

        # It was stopped early with an adapter: one key goes on from the last checkpoint, and the other sees it.
        await until(one, lambda: app_of(one).screen.check_action("resume", ()))
        await one.press("r")
        for pilot, session in ((one, first), (two, second)):
            await until(pilot, lambda session=session: session.state.stage == "serving")
            await shows(pilot, "40/40", seconds=TRUTH_SECONDS)
            assert session.state.resumed is not None
            assert session.state.resumed.step == found["checkpoint"]
            assert list(session.state.loss.steps) == list(range(1, 41))


async def test_stop_ladder_by_keys(engines: Engines, demo: RunSpec) -> None:
    """Asked twice, a hung engine ends at once; what is complete is reported, and resumed by one key."""
    engine = engines.start("hung", small(demo), LORIS_FAULT="hang@5")
    async with attached(engine) as pilot:
        await until(pilot, lambda: engine.events_of(ev.CheckpointSaved)[1:])
        await pilot.press("x")
        await say_yes(pilot, "Stop training and keep the model?")
        await shows(pilot, "Stopping …")
        await pilot.press("x")
        await say_yes(pilot, "Stop at once?")
        await until(pilot, lambda: not is_alive(engine.folder), 20)
        found = check_status(engine, "stopped")
        assert (found["checkpoint"], found["trained"], found["stop_mode"]) == (4, False, "now")
        check_folder(engine.folder)
        await until(pilot, lambda: app_of(pilot).screen.check_action("resume", ()), TRUTH_SECONDS)
        await pilot.press("r")
        await shows(pilot, "Resuming from step 4")
        await shows(pilot, "8/8", "Trained", seconds=60)
    assert [one.step for one in engines.started[-1].events_of(ev.Resumed)] == [4]


async def test_frozen_engine_is_ended_by_keys_and_resumed_from_home(engines: Engines, demo: RunSpec) -> None:
    engine = engines.start("frozen", small(demo, max_steps=30), LORIS_FAULT="slow@0.2")
    async with attached(engine) as pilot:
        await until(pilot, lambda: len(engine.events_of(ev.CheckpointSaved)) >= 2)
        os.kill(engine.process.pid, signal.SIGSTOP)
        await shows(pilot, "Frozen", seconds=TRUTH_SECONDS)
        assert status(engine)["frozen"] is True
        await pilot.press("x")
        await shows(pilot, "It has 10 s to save a checkpoint")
        began = time.monotonic()
        await say_yes(pilot, "Terminate the engine?")
        await until(pilot, lambda: not is_alive(engine.folder), 12)
        assert time.monotonic() - began < 12
        kept = summarise(engine.folder).checkpoint
        await shows(pilot, f"The checkpoint of step {kept}", "resuming starts there", seconds=TRUTH_SECONDS)
        found = check_status(engine, "interrupted")
        assert (found["checkpoint"], found["alive"]) == (kept, False)
        check_folder(engine.folder)
    async with attached() as pilot:
        await shows(pilot, "Earlier runs", "interrupted")
        screen, box = app_of(pilot).screen, app_of(pilot).screen.query_one(ListBox)
        assert isinstance(screen, HomeScreen)
        await pilot.press("end")
        await until(pilot, lambda: screen.chosen_run() is not None)
        assert box.has_focus
        assert "r Resume" in screen_text(app_of(pilot))
        await pilot.press("r")
        await shows(pilot, "30/30", "Trained")
    assert [one.step for one in engine.events_of(ev.Resumed)] == [kept]


async def test_killed_engine_is_told_and_resumed_by_one_key(engines: Engines, demo: RunSpec) -> None:
    engine = engines.start("killed", small(demo), LORIS_FAULT="kill@5")
    async with attached(engine, (120, 36)) as pilot:
        await until(pilot, lambda: engine.process.poll() is not None)
        await shows(pilot, "The engine is gone", "killed", "(137)", "checkpoint of step 4", seconds=TRUTH_SECONDS)
        found = check_status(engine, "interrupted")
        assert (found["failure"]["code"], found["failure"]["exit_code"], found["exit_code"]) == ("killed", 137, 137)
        assert found["failure"]["log"]
        await pilot.press("r")
        await shows(pilot, "8/8", "Trained", seconds=60)


async def test_failure_tells_the_same_everywhere_and_resumes_with_less(engines: Engines, demo: RunSpec) -> None:
    engine = engines.start("full", small(demo), "--exit", LORIS_FAULT="oom@5")
    async with attached(engine, (120, 36), notifications=False) as pilot:  # they cover words
        await until(pilot, lambda: isinstance(app_of(pilot).screen, FailureModal))
        failure = check_status(engine, "failed")["failure"]
        assert failure["code"] == "out_of_memory"
        end = " ".join(failure["log"][-1].split())[:60]
        await until(pilot, lambda: end in dialog_text(pilot))  # it is drawn first, and then scrolled to there
        text = dialog_text(pilot)
        for words in (failure["code"], failure["message"], failure["hint"]):
            assert words in text, (words, text)
        assert "per_device_train_batch_size): 1" in text
        await pilot.press("r")
        await shows(pilot, "8/8", "Trained", seconds=60)
    assert [one.step for one in engine.events_of(ev.Resumed)] == [4]
    assert len({one.effective_batch_size for one in engine.events_of(ev.TrainingStarted)}) == 1


async def test_discarded_from_the_quit_dialog_and_from_the_command_line(engines: Engines, demo: RunSpec) -> None:
    """In between it is resumed, and its time, the time left and the cost go on from where they were."""
    save_settings(Settings(price_per_hour=36.0, currency="USD"))
    engine = engines.start("discard", small(demo, max_steps=200), LORIS_FAULT="slow@0.1")
    async with attached(engine) as pilot:
        await until(pilot, lambda: engine.events_of(ev.CheckpointSaved))
        await pilot.press("ctrl+q")
        await shows(pilot, "Keep running", "Stop and discard")
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: app_of(pilot)._exit)
        assert "The checkpoint of step" in app_of(pilot)._exit_message
    first = discarded(engine)
    last = engine.events()[-1]
    assert first["seconds"] == pytest.approx(last.elapsed)

    again = engines.start("discard", None, "--resume", LORIS_FAULT="slow@0.1")
    seen = len(again.events_of(ev.Step))
    again.wait_for(lambda: len(again.events_of(ev.Step)) > seen)
    async with attached(again) as pilot:  # one who was away sees the same
        await shows(pilot, "Training", "about", "left", "USD")
        found = status(again)
        began = again.events_of(ev.EngineStarted)[-1].time
        assert found["seconds"] == pytest.approx(first["seconds"] + time.time() - began, abs=5)
        assert found["cost"] == pytest.approx(found["seconds"] / 100)
        steps = again.events_of(ev.Step)[seen:]
        pace = (steps[-1].elapsed - again.events_of(ev.TrainingStarted)[-1].elapsed) / len(steps)
        assert found["seconds_left"] == pytest.approx(pace * (200 - steps[-1].step), rel=0.5)
    assert "discard has stopped" in await asyncio.to_thread(loris, "stop", "discard", "--discard")
    assert discarded(again)["seconds"] > first["seconds"]


def discarded(engine: Engine) -> dict[str, Any]:
    """What `loris status` says of a run of which nothing but complete checkpoints was to be kept."""
    found = check_status(engine, "stopped")
    assert (found["stop_mode"], found["trained"], found["alive"]) == ("discard", False, False)
    assert found["checkpoint"] is not None, "complete checkpoints stay"
    check_folder(engine.folder)
    assert not engine.folder.adapter.exists()
    return found
