"""The engine that the wizard starts early: when it is started, used, and ended."""

from __future__ import annotations

from pathlib import Path

from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import Refused, Train
from tests.helpers.fake_run import screen_text
from tests.helpers.waiting import until
from tests.helpers.wizard_driver import RecordingBackend, at_step, loris, open_step, settle, type_into
from tui.app import LorisApp
from tui.screens.live import LiveScreen

SIZES = [(80, 24), (120, 36)]


async def test_leaving_the_model_step_starts_the_engine_and_training_uses_it(chat: Path) -> None:
    backend = RecordingBackend()
    app = LorisApp(language="en", preset="demo", backend=backend)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.go("model")
        await settle(pilot)
        await pilot.press("ctrl+n")
        await until(pilot, lambda: backend.launched == ["wait"])
        backend.feed([ev.EngineStarted(pid=1, hostname="h", versions={}), ev.StageChanged(stage="loading")])
        await until(pilot, lambda: "engine: loading the model" in screen_text(app))
        backend.feed([ev.StageChanged(stage="ready")])
        await until(pilot, lambda: "engine: ready" in screen_text(app))
        await open_step(pilot, "f8")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))
        assert backend.launched == ["wait"]
        assert [type(command) for command in backend.asked] == [Train]
        assert isinstance(app.screen, LiveScreen)
        assert backend.abandoned == []


async def test_an_engine_that_refuses_brings_the_review_back() -> None:
    backend = RecordingBackend()

    async def refuse(command):  # type: ignore[no-untyped-def]
        yield Refused(id=0, code="x", message=say("The file has gone."), field="dataset.path")

    backend.answer = refuse
    app = LorisApp(language="en", preset="demo", backend=backend)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.go("model")
        await settle(pilot)
        await pilot.press("f8")
        await until(pilot, lambda: backend.launched == ["wait"])
        backend.feed([ev.EngineStarted(pid=1, hostname="h", versions={}), ev.StageChanged(stage="ready")])
        await until(pilot, lambda: "engine: ready" in screen_text(app))
        await settle(pilot)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: bool(backend.asked) and at_step(pilot, "review")())
        assert app.session.warm


async def test_another_model_ends_the_warm_engine_and_so_does_quitting() -> None:
    backend = RecordingBackend()
    app = LorisApp(language="en", preset="demo", backend=backend)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.go("model")
        await settle(pilot)
        await pilot.press("ctrl+n")
        await until(pilot, lambda: backend.launched == ["wait"])
        await open_step(pilot, "f2")
        await type_into(pilot, "model.max_seq_length", "128")
        await pilot.press("ctrl+n")
        await until(pilot, lambda: len(backend.launched) == 2)
        assert [folder.name for folder in backend.abandoned] == ["1"]
        assert backend.launched == ["wait", "wait"]
        assert backend.specs[-1].model.max_seq_length == 128
        await pilot.press("ctrl+q")
        await until(pilot, lambda: len(backend.abandoned) == 2)
    assert [folder.name for folder in backend.abandoned] == ["1", "2"]
    assert loris(pilot).session.folder is None


async def test_the_command_to_train_does_not_wait_for_the_model() -> None:
    backend = RecordingBackend()
    app = LorisApp(language="en", preset="demo", backend=backend)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.go("model")
        await settle(pilot)
        await pilot.press("f8")
        await until(pilot, lambda: backend.launched == ["wait"])
        await settle(pilot)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))
        await until(pilot, lambda: [type(command) for command in backend.asked] == [Train])
        assert backend.launched == ["wait"]
        assert backend.abandoned == []


# Home.
