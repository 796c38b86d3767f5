"""Home: what it suggests, what it continues, and in which language."""

from __future__ import annotations

import json
import os
from pathlib import Path

from engine.client.launch import new_run
from engine.config.run_spec import RunSpec
from engine.protocol import events as ev
from tests.helpers import fake_run
from tests.helpers.fake_run import screen_text
from tests.helpers.runs_on_home import made
from tests.helpers.waiting import on_screen, shown
from tests.helpers.wizard_driver import NASTY, SHOWN_NASTY, RecordingBackend, settle, type_into, wizard
from tui.app import LorisApp
from tui.screens.home import HomeScreen
from tui.screens.live import LiveScreen

SIZES = [(80, 24), (120, 36)]


async def test_home_suggests_the_demo_first_and_lists_broken_presets(home: Path) -> None:
    presets = home / "presets"
    presets.mkdir()
    (presets / "broken.yaml").write_text("lora:\n  r: many\n", encoding="utf-8")
    (presets / "odd.yaml").write_text(json.dumps({"name": NASTY, "description": NASTY}), encoding="utf-8")
    app = LorisApp(language="en", backend=RecordingBackend())
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        text = screen_text(app)
        assert "Press Enter for the demo" in text
        assert "No runs yet" in text
        assert "✗ cannot be used" in text
        assert SHOWN_NASTY[:20] in text
        assert "\x1b]0" not in text
        await pilot.press(*["down"] * 5)
        await settle(pilot)
        assert "broken.yaml:2: lora.r" in screen_text(app)
        await pilot.press("home", "enter")
        await settle(pilot)
        assert wizard(pilot).STEP == "review"
        assert app.draft.preset.name == "demo"
        await pilot.press(*["escape"] * 6)
        await settle(pilot)
        assert isinstance(app.screen, HomeScreen)


async def test_home_continues_an_unfinished_draft() -> None:
    app = LorisApp(language="en", preset="demo", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.go("lora")
        await settle(pilot)
        await type_into(pilot, "lora.r", "8")
        app.go("home")
        await settle(pilot)
        assert "continue with demo" in screen_text(app)
        await pilot.press("enter")
        await settle(pilot)
        assert app.draft["lora.r"] == 8


async def test_language_is_switched_and_remembered() -> None:
    app = LorisApp(language="en", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("l")
        await settle(pilot)
        assert "退出" in screen_text(app)
    again = LorisApp(backend=RecordingBackend())
    async with again.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "退出" in screen_text(again)


async def test_runs_are_listed_literally_and_opened() -> None:
    folder = new_run(RunSpec(name=NASTY))
    app = LorisApp(language="en", backend=RecordingBackend())
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        text = screen_text(app)
        assert SHOWN_NASTY[:20] in text
        assert "\x1b]0" not in text
        await pilot.press("end", "enter")
        await settle(pilot)
        await on_screen(pilot, LiveScreen)
        assert app.session.folder == folder


async def test_home_survives_any_single_bad_run() -> None:
    """One below a folder named in GBK, one that ended in the year 10000, one that nothing can read."""
    good = made("good", fake_run.finished())
    odd = made("odd", fake_run.finished())
    odd.path.rename(odd.path.with_name(os.fsdecode("用户".encode("gbk"))))
    late = made("late", [])
    late.events.write_bytes(ev.encode(ev.EngineStarted(pid=1, hostname="h", versions={}, time=1e300)))
    pipe = made("pipe", [])
    pipe.events.unlink()
    os.mkfifo(pipe.events)
    assert good.path.is_dir()
    app = LorisApp(language="en", backend=RecordingBackend())
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        await shown(pilot, "good", "odd", "late", "pipe", "cannot be read")
        home = await on_screen(pilot, HomeScreen)
        (entry,) = [one for one in home._entries.values() if one.run and one.run.folder == pipe]
        entry.open()
        await shown(pilot, "This run cannot be read")
        assert app.screen is home
