"""llama.cpp in the export screen: its folder, its errors, and fetching and building it after a yes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.export.build_llama_cpp import Requirements
from engine.export.cancellation import Cancelled
from engine.export.llama_cpp import LlamaCpp, missing
from engine.messages.errors import UserError
from engine.messages.message import say
from tests.helpers import fake_run
from tests.helpers.export_screen import READY, backend
from tests.helpers.fake_run import FakeBackend, app_on, screen_text
from tests.helpers.waiting import until
from tui.screens.export import ExportScreen
from tui.screens.live import LiveScreen
from tui.state.llama_build import LlamaBuild
from tui.state.settings import llama_cpp_folder, load_settings

__all__ = ["backend"]  # a fixture
NONE = LlamaCpp("missing", error=missing())


@pytest.fixture
def no_llama_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without llama.cpp, but with all that a build needs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    found = Requirements(37_000_000, 700_000_000, tmp_path / "cache" / "llama.cpp")
    monkeypatch.setattr("tui.screens.llama_pane.requirements", lambda: found)


@pytest.mark.usefixtures("no_llama_cpp")
async def test_missing_llama_cpp_is_reported_and_its_field_focused(backend: FakeBackend) -> None:
    app = app_on("save", backend, fake_run.finished())
    async with app.run_test(size=(120, 36)) as pilot:
        app.screen.query_one("#choice-gguf").focus()
        await until(pilot, lambda: "llama.cpp, which was not found" in screen_text(app))
        await until(pilot, lambda: "Download and build it: 35.3 MB, 3-15 minutes" in screen_text(app))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.focused is not None and app.focused.id == "llama-folder")
        assert backend.asked == []
        await pilot.press(*"/nowhere")
        await until(pilot, lambda: "There is no folder /nowhere" in screen_text(app))


class Fetching:
    """A fake of fetching llama.cpp: it waits until the test releases it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, found: Path) -> None:
        self.may_end, self.error = threading.Event(), None
        self.found, self._patch = found, monkeypatch
        self.build = LlamaBuild(self.fetch)
        monkeypatch.setattr("tui.screens.llama_pane.build", lambda: self.build)
        monkeypatch.setattr("tui.screens.export.build", lambda: self.build)
        monkeypatch.setattr(LlamaBuild, "clock", staticmethod(lambda: 0.0))

    def fetch(self, tell: Callable[[str, int, int], None], cancelled: Callable[[], bool]) -> Path:
        tell("building", 40, 160)
        while not self.may_end.wait(0.02):
            if cancelled():
                raise Cancelled
        if self.error:
            raise self.error
        for place in ("tui.screens.llama_pane", "engine.export.plan"):
            self._patch.setattr(f"{place}.find_llama_cpp", lambda typed: READY)
        return self.found


@pytest.fixture
def fetching(no_llama_cpp: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetching:
    return Fetching(monkeypatch, tmp_path / "cache" / "llama.cpp")


async def test_llama_cpp_is_fetched_after_a_yes_and_not_before(backend: FakeBackend, fetching: Fetching) -> None:
    app = app_on("save", backend, fake_run.finished())
    async with app.run_test(size=(120, 36)) as pilot:
        app.screen.query_one("#choice-gguf").focus()
        await until(pilot, lambda: "Download and build it:" in screen_text(app))
        app.screen.query_one("#llama-folder").focus()
        await pilot.press("down", "enter")
        await until(pilot, lambda: "the system is not changed" in " ".join(screen_text(app).split()))
        assert "35.3 MB" in screen_text(app)
        await pilot.press("enter")  # the button in focus says: not now
        await until(pilot, lambda: isinstance(app.screen, ExportScreen))
        assert not fetching.build.running
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(app.screen, ExportScreen))
        await pilot.press("right", "enter")
        await until(pilot, lambda: "building llama.cpp, 40/160 (25%)  0:00" in screen_text(app))
        app.go("live")  # it continues
        await until(pilot, lambda: isinstance(app.screen, LiveScreen) and bool(app.screen.query("LogTail")))
        app.go("save")
        await until(pilot, lambda: isinstance(app.screen, ExportScreen) and bool(app.screen.query("#choice-gguf")))
        app.screen.query_one("#choice-gguf").focus()
        await until(pilot, lambda: "building llama.cpp, 40/160" in screen_text(app))
        fetching.may_end.set()
        await until(pilot, lambda: "llama.cpp is there: /opt/llama.cpp b9999" in screen_text(app))
        await until(pilot, lambda: "It will be at" in screen_text(app))
        assert not app.screen.query_one("#fetch").display


async def test_fetching_is_cancelled_and_a_failure_shown(backend: FakeBackend, fetching: Fetching) -> None:
    app = app_on("save", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        app.screen.query_one("#choice-gguf").focus()
        await until(pilot, lambda: "Download and build it:" in screen_text(app))
        for error, key, words in (
            (None, "ctrl+g", "The build of llama.cpp was cancelled"),
            (
                UserError("llama_fetch", say("It could not be downloaded from the package index: no route")),
                "",
                "no route",
            ),
        ):
            fetching.error = error
            app.screen.query_one("#fetch").focus()
            await pilot.press("enter")
            await until(pilot, lambda: not isinstance(app.screen, ExportScreen))
            await pilot.press("right", "enter")
            await until(pilot, lambda: "building llama.cpp" in screen_text(app))
            if key:
                await pilot.press(key)
            else:
                fetching.may_end.set()
            await until(pilot, lambda words=words: words in " ".join(screen_text(app).split()))
            await until(pilot, lambda: "Download and build it:" in screen_text(app))


@pytest.mark.usefixtures("no_llama_cpp")
async def test_a_usable_folder_is_remembered(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("tui.screens.llama_pane", "engine.export.plan"):
        monkeypatch.setattr(f"{place}.find_llama_cpp", lambda typed: READY if typed == "/opt/llama.cpp" else NONE)
    app = app_on("save", backend, fake_run.finished())
    async with app.run_test(size=(120, 36)) as pilot:
        app.screen.query_one("#choice-gguf").focus()
        await until(pilot, lambda: "which was not found" in screen_text(app))
        app.screen.query_one("#llama-folder").focus()
        await pilot.press(*"/opt/llama.cpp")
        await until(pilot, lambda: "llama.cpp is there" in screen_text(app))
        assert load_settings().llama_cpp == ""
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "✓ Exported to" in screen_text(app))
        assert load_settings().llama_cpp == "/opt/llama.cpp"
    assert llama_cpp_folder() == "/opt/llama.cpp"
    monkeypatch.setenv("UNSLOTH_LLAMA_CPP_PATH", "/elsewhere")
    assert llama_cpp_folder() == "/elsewhere"
