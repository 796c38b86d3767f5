"""The export screen: the use of each kind, the target, what prevents an export, and its result."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from engine.export import plan as planner
from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import AnyReply, CancelExport, Command, Done, Export, ExportProgress, Refused
from engine.runs.folder import RunFolder
from tests.helpers import fake_run
from tests.helpers.export_screen import READY, backend, saves
from tests.helpers.fake_run import FakeBackend, app_on, screen_text
from tests.helpers.waiting import on_screen, until
from tui.screens.export import ExportScreen
from tui.screens.live import LiveScreen
from tui.state.run_session import RunSession
from tui.text import export

__all__ = ["backend"]  # a fixture
SIZES = [(80, 24), (120, 36)]


@pytest.mark.parametrize("size", SIZES)
async def test_each_kind_shows_its_use_and_size(size: tuple[int, int], backend: FakeBackend) -> None:
    app = app_on("save", backend, fake_run.finished())
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "It will be at" in screen_text(app))
        text = screen_text(app)
        assert "LoRA adapter  about 97.0 MB" in text
        assert "Merged 16-bit model  about 6.0 GB" in text
        assert "Merged 4-bit model  about 1.9 GB" in text
        assert "GGUF  about 1.8 GB" in text
        assert "vLLM" in text
        assert "Free there:" in " ".join(text.split())  # the path may be long enough to break the line
        assert "Exported so far" in text
        assert "/runs/demo/adapter" in text
        app.screen.query_one("#choice-adapter").focus()
        await until(pilot, lambda: "peft" in screen_text(app))
        app.screen.query_one("#choice-gguf").focus()
        await until(pilot, lambda: "llama.cpp, Ollama and LM Studio" in screen_text(app))


async def test_merged_model_is_exported_into_the_run_by_default(backend: FakeBackend) -> None:
    app = app_on("save", backend, fake_run.finished())
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "✓ Exported to" in screen_text(app))
        target = backend.folder.exports / "merged_16bit"
        assert backend.asked == [Export(id=0, kind="merged_16bit", path=str(target))]
        backend.feed([ev.Exported(kind="merged_16bit", path=str(target), total_bytes=6 * fake_run.GB, seconds=9)])
        await until(pilot, lambda: "6.0 GB" in screen_text(app).split("Exported so far")[1])


async def test_adapter_is_copied_to_a_folder_of_the_users(backend: FakeBackend, tmp_path: Path) -> None:
    drive = tmp_path / "drive"
    drive.mkdir()
    app = app_on("save", backend, fake_run.finished())
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("up", "down", "down")  # the adapter, then past both to the folder
        app.screen.query_one("#choice-adapter").focus()
        await until(pilot, lambda: app.focused is app.screen.query_one("#choice-adapter"))
        app.screen.query_one("#folder").focus()
        await pilot.press(*str(drive))
        await until(pilot, lambda: str(drive / "run" / "adapter") in screen_text(app).replace("\n", ""))
        await pilot.press("enter")
        await until(pilot, lambda: "✓ Exported to" in screen_text(app))
        assert backend.asked == [Export(id=0, kind="adapter", path=str(drive / "run" / "adapter"))]


async def test_kinds_are_one_field_for_keys(backend: FakeBackend) -> None:
    """Otherwise only the last kind could go into a folder: moving there would select the others."""
    app = app_on("save", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:

        async def leads_to(key: str) -> str:
            await pilot.press(key)
            await pilot.pause()
            assert app.focused is not None
            return app.focused.id or ""

        assert await leads_to("up") == "choice-adapter"
        assert await leads_to("tab") == "folder"
        assert await leads_to("shift+tab") == "choice-adapter"
        assert await leads_to("enter") == "folder"
        assert await leads_to("up") == "choice-adapter"
        assert "(x) LoRA adapter" in screen_text(app)
        assert await leads_to("down") == "choice-merged_16bit"
        assert await leads_to("down") == "choice-merged_4bit"
        assert await leads_to("down") == "choice-gguf"
        assert await leads_to("down") == "quantizations"
        assert await leads_to("up") == "choice-gguf"
        assert await leads_to("up") == "choice-merged_4bit"
        assert "(x) Merged 4-bit" in screen_text(app)


async def test_an_error_is_shown_next_to_the_field(backend: FakeBackend, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    app = app_on("save", backend, fake_run.finished())
    async with app.run_test(size=(120, 36)) as pilot:
        app.screen.query_one("#folder").focus()
        await pilot.press(*str(tmp_path / "file"))
        await until(pilot, lambda: "already exists" in screen_text(app))
        await pilot.press("enter")
        await pilot.pause(0.3)
        assert backend.asked == []
        await pilot.press(*"/below")
        await until(pilot, lambda: "is a file, not a folder" in screen_text(app))


async def test_progress_counts_and_a_refusal_is_shown(backend: FakeBackend) -> None:
    go_on = asyncio.Event()

    async def slow(command: Command) -> AsyncGenerator[AnyReply, None]:
        await go_on.wait()
        yield Refused(id=1, code="disk", message=say("The disk is full."))

    backend.answer = slow
    app = app_on("save", backend, fake_run.finished())
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "Exporting: Merged 16-bit model" in screen_text(app))
        await until(pilot, lambda: re.search(r"… Exporting.* 0:0[1-9]", screen_text(app)) is not None)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "An export is already running" in screen_text(app))
        assert len(backend.asked) == 1
        go_on.set()
        await until(pilot, lambda: "✗ The disk is full." in screen_text(app))
        backend.answer = saves
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "✓ Exported to" in screen_text(app))


async def test_earlier_run_is_loaded_first_and_loading_can_be_cancelled(backend: FakeBackend) -> None:
    backend.alive = False
    app = app_on("save", backend, [*fake_run.finished(), ev.EngineEnded(exit_code=0)])
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("ctrl+s")
        await until(pilot, lambda: backend.launched == ["serve"])
        backend.feed(fake_run.loading())
        await until(pilot, lambda: "the model is loading" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "Stopped before anything was exported" in screen_text(app))
        assert isinstance(app.screen, ExportScreen)
        backend.feed([ev.StageChanged(stage="serving")])
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "✓ Exported to" in screen_text(app))
        await pilot.press("escape")
        await on_screen(pilot, LiveScreen)


def test_plan_has_size_and_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = FakeBackend(folder=RunFolder(tmp_path))
    session = RunSession(backend)
    session.attach(backend.folder, fake_run.SPEC)
    backend.feed(fake_run.finished())
    session.poll()
    plan = export.plan("merged_16bit", "", backend.folder, session.state)
    assert plan.target == tmp_path / "exports" / "merged_16bit"
    assert plan.needed_bytes == 2 * 3_212_749_824
    monkeypatch.setattr(planner.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 10**9}))
    short = export.plan("merged_16bit", "", backend.folder, session.state)
    assert "It needs about 6.1 GB, temporary files included, and this disk has 0.9 GB free." in str(short.error)
    assert export.plan("merged_16bit", "~/x", backend.folder, session.state).target == Path.home() / "x"


@pytest.fixture
def llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    """A llama.cpp in every location."""
    monkeypatch.setattr("tui.screens.llama_pane.find_llama_cpp", lambda typed: READY)
    monkeypatch.setattr(planner, "find_llama_cpp", lambda typed: READY)


@pytest.mark.usefixtures("llama_cpp")
@pytest.mark.parametrize("size", SIZES)
async def test_gguf_is_exported_in_several_quantizations_at_once(
    size: tuple[int, int], backend: FakeBackend
) -> None:
    app = app_on("save", backend, fake_run.finished())
    async with app.run_test(size=size) as pilot:
        app.screen.query_one("#choice-gguf").focus()
        await until(pilot, lambda: "llama.cpp is there: /opt/llama.cpp b9999" in screen_text(app))
        await pilot.press("down")
        await until(pilot, lambda: app.focused is not None and app.focused.id == "quantizations")
        await pilot.press("right", "right")
        await until(pilot, lambda: "q8_0: Nearly exact" in screen_text(app))
        await pilot.press("space")
        await until(pilot, lambda: "GGUF  about 5.0 GB" in screen_text(app))
        app.screen.query_one("#ollama").focus()
        await pilot.press(*"loris", "ctrl+s")
        await until(pilot, lambda: "✓ Exported to" in screen_text(app))
        target = backend.folder.exports / "gguf-q4_k_m-q8_0"
        assert backend.asked == [
            Export(
                id=0,
                kind="gguf",
                path=str(target),
                quantizations=("q4_k_m", "q8_0"),
                ollama="loris",
                llama_cpp="/opt/llama.cpp",
            )
        ]


async def test_progress_is_shown_and_an_export_can_be_cancelled(backend: FakeBackend) -> None:
    given_up = asyncio.Event()

    async def slow(command: Command) -> AsyncGenerator[AnyReply, None]:
        if isinstance(command, CancelExport):
            given_up.set()
            yield Done(id=2)
            return
        yield ExportProgress(id=1, step="merging", done=12, total=40, unit="layers")
        await given_up.wait()
        yield Refused(id=1, code="cancelled", message=say("The export was cancelled, and nothing is left of it."))

    backend.answer = slow
    app = app_on("save", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+s")
        await until(
            pilot, lambda: "merging the adapter into the base model, 12/40 layers (30%)" in screen_text(app)
        )
        await pilot.press("ctrl+g")
        await until(pilot, lambda: "✗ The export was cancelled, and nothing is left of it." in screen_text(app))
        assert [type(command) for command in backend.asked] == [Export, CancelExport]


async def test_an_existing_export_is_replaced_only_on_request(backend: FakeBackend) -> None:
    (backend.folder.exports / "merged_16bit").mkdir(parents=True)
    app = app_on("save", backend, fake_run.finished())
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: "already exists" in screen_text(app))
        await pilot.press("ctrl+s")
        await pilot.pause(0.3)
        assert backend.asked == []
        app.screen.query_one("#replace").focus()
        await pilot.press("space")
        await until(pilot, lambda: "It will be at" in screen_text(app))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "✓ Exported to" in screen_text(app))
        assert isinstance(backend.asked[0], Export)
        assert backend.asked[0].replace


async def test_what_was_verified_is_shown(backend: FakeBackend) -> None:
    checked = ev.Exported(
        kind="gguf", path="/x/gguf", total_bytes=10, seconds=1, quantizations=("q8_0",), verified=say("It answers.")
    )
    app = app_on("save", backend, [*fake_run.finished(), checked])
    async with app.run_test(size=(120, 36)):
        assert "GGUF q8_0  10 B  /x/gguf" in screen_text(app)
        assert "✓ It answers." in screen_text(app)
