"""The run screen, on replayed events: what it shows, what it asks, and its errors."""

from __future__ import annotations

import threading

import msgspec
import pytest
from textual.widgets import ContentSwitcher

from engine.config.run_spec import ExportSpec
from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import Deliver
from tests.helpers import fake_run
from tests.helpers.fake_run import CpuMonitor, FakeBackend, app_on, screen_text
from tests.helpers.waiting import on_screen, shown, still, until
from tui.plots.loss_plot import LossPlot
from tui.screens import live
from tui.screens.live import LiveScreen
from tui.widgets.log_tail import LogTail

SIZES = [(80, 24), (120, 36)]


def drawn(plot: LossPlot) -> int:
    """How many cells of the plot show a curve."""
    return sum(ink in ("raw", "smooth", "eval") for row in plot._rows[1:-1] for _char, ink in row)


@pytest.mark.parametrize("size", SIZES)
async def test_shows_a_run_in_training(size: tuple[int, int]) -> None:
    app = app_on("live", FakeBackend(), fake_run.training(), ["step 34 done"])
    async with app.run_test(size=size) as pilot:
        text = await shown(pilot, "Training")
        assert "34/60" in text
        assert "56%" in text
        assert "left" in text
        assert "1,834 tokens/s" in text
        assert "GPU memory 5.4 of 22.5 GB" in text
        assert "NVIDIA L4" in text
        assert "7.8 of 22.5 GB" in text
        assert "peak 6.1 GB" in text
        assert "61°C" in text
        assert "93%" in text
        assert "step 34 done" in text
        assert drawn(app.screen.query_one(LossPlot)) > 20


async def test_curve_grows_with_the_run_and_only_what_changed_is_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TICK_SECONDS", 0.05)
    backend = FakeBackend()
    app = app_on("live", backend, fake_run.training(34))
    async with app.run_test(size=(120, 36)) as pilot:
        await still(pilot)
        plot = app.screen.query_one(LossPlot)
        before, rows = drawn(plot), [list(row) for row in plot._rows]
        backend.feed(fake_run.training(48)[-8:])
        await until(pilot, lambda: drawn(plot) > before)
        changed = sum(was != now for was, now in zip(rows, plot._rows, strict=True))
        assert changed < len(rows)


async def test_without_a_gpu_it_says_so() -> None:
    app = app_on("live", FakeBackend(), fake_run.training())
    LiveScreen.make_monitor = CpuMonitor  # type: ignore[assignment]
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "No GPU: training on the CPU")
        assert "87%" in screen_text(app)


async def test_several_gpus_have_a_block_each() -> None:
    two = fake_run.FakeMonitor.hardware.gpus * 2

    class Two(fake_run.FakeMonitor):
        hardware = fake_run.Hardware(two, 1.0, 1, 2)

    app = app_on("live", FakeBackend(), fake_run.training())
    LiveScreen.make_monitor = Two  # type: ignore[assignment]
    async with app.run_test(size=(120, 36)) as pilot:
        await shown(pilot, "GPU 0")
        assert "GPU 1" in screen_text(app)


async def test_finished_run_shows_its_report_and_the_next_steps() -> None:
    app = app_on("live", FakeBackend(), fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        text = await shown(pilot, "NVIDIA L4")
        assert app.screen.query_one(ContentSwitcher).current == "pane-report"
        assert "NVIDIA L4" in text
        assert "22.500 GB" in text
        assert "2.700 GB" in text  # reserved before
        assert "6.100 GB (27.1%)" in text  # peak
        assert "3.400 GB (15.1%)" in text  # for training
        assert "2.74 minutes" in text
        assert "c to chat" in text
        assert "Trained and ready to chat" in text


async def test_old_run_without_an_engine_shows_its_complete_curve_and_no_alarm() -> None:
    backend = FakeBackend(alive=False)
    app = app_on("live", backend, [*fake_run.finished("stopped", 40), ev.EngineEnded(exit_code=0)])
    async with app.run_test(size=(120, 36)) as pilot:
        await on_screen(pilot, LiveScreen)
        assert "Stopped early" in screen_text(app)
        plot = app.screen.query_one(LossPlot)
        assert drawn(plot) > 30
        assert app.screen.check_action("chat", ()) is True
        assert app.screen.check_action("stop", ()) is False


@pytest.mark.parametrize("alive", [True, False])
async def test_what_is_missing_is_named_and_done_by_one_key(alive: bool) -> None:
    """An engine that still serves does it; for a run that has ended, one is started."""
    backend = FakeBackend(alive=alive)
    missing = ev.Undelivered(missing=("merged_16bit", "merged_16bit → /mnt/drive"))
    *before, serving = fake_run.finished()
    spec = msgspec.structs.replace(fake_run.SPEC, export=ExportSpec(merged_16bit=True, after_command="poweroff"))
    app = app_on("live", backend, [*before, missing, serving if alive else ev.EngineEnded(exit_code=4)], spec=spec)
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        text = await shown(pilot, "Trained, but something is missing", "Do the rest")
        assert "this is missing: merged_16bit, merged_16bit → /mnt/drive" in text
        assert "loris export demo --rest" in text
        await pilot.press("d")
        await shown(pilot, "Do the rest now?", "poweroff")
        await pilot.press("right", "enter")
        if not alive:
            await until(pilot, lambda: backend.launched == ["serve"])
            backend.feed([ev.EngineStarted(pid=2, hostname="h", versions={}), serving])
        await until(pilot, lambda: [type(command) for command in backend.asked] == [Deliver])
        await shown(pilot, "Everything that the spec asks for is done.")
        backend.feed([ev.Undelivered()])
        await shown(pilot, "Trained and ready to chat")
        assert app.screen.check_action("deliver", ()) is False


@pytest.mark.parametrize("key", ["data", "answers", "notices", "run"])
async def test_panes_are_reached_by_number(key: str) -> None:
    wanted = {
        "data": ["9,805 (54%) count in the loss", "1. As found"],
        "answers": ["» Who are you?", "before", "I am Llama", "after", "I am Loris"],
        "notices": ["! adamw_8bit needs a GPU of NVIDIA; adamw_torch is used."],
        "run": ["24.3 M of 3.24 B (0.75%)"],
    }
    app = app_on("live", FakeBackend(), fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press(str(list(live.PANES).index(key) + 1))
        await shown(pilot, *wanted[key])


async def test_proof_of_the_data_can_be_read_to_its_end() -> None:
    app = app_on("live", FakeBackend(), fake_run.training())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await still(pilot)
        await pilot.press("end")
        await shown(pilot, "3. What is learned")
        assert "I am Loris, a slow and careful helper.<|eot_id|>" in screen_text(app)


async def test_log_follows_until_one_scrolls_up() -> None:
    backend = FakeBackend()
    app = app_on("live", backend, fake_run.training(), [f"line {i}" for i in range(200)])
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "line 199")
        await pilot.press("pageup")
        await until(pilot, lambda: "line 199" not in screen_text(app))
        log = app.screen.query_one(LogTail)
        assert not log.follow
        backend.feed_log(*(f"line {i}" for i in range(200, 300)))
        await pilot.pause(1.4)  # the log is read meanwhile
        assert "line 299" not in screen_text(app)
        await pilot.press("f")
        await shown(pilot, "line 299")


async def test_log_keeps_its_position_while_old_lines_are_dropped() -> None:
    backend = FakeBackend()
    app = app_on("live", backend, fake_run.training(), [f"line {i}" for i in range(5000)])
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "line 4999")
        await pilot.press("pageup", "pageup")
        await still(pilot)
        seen = next(row for row in screen_text(app).splitlines() if row.strip().startswith("line "))
        backend.feed_log(*(f"line {i}" for i in range(5000, 5100)))
        await pilot.pause(1.4)  # the log is read meanwhile
        assert next(row for row in screen_text(app).splitlines() if row.strip().startswith("line ")) == seen


async def test_going_home_says_that_the_engine_keeps_running() -> None:
    backend = FakeBackend()
    app = app_on("live", backend, fake_run.training())
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("h")
        await shown(pilot, "The engine continues")
        assert not isinstance(app.screen, LiveScreen)
        assert backend.asked == []


async def test_keys_are_answered_while_a_driver_hangs() -> None:
    asked, answers = threading.Event(), threading.Event()

    class Hanging(fake_run.FakeMonitor):
        def read(self) -> fake_run.Hardware:
            asked.set()
            answers.wait(30)
            return self.hardware

    app = app_on("live", FakeBackend(), fake_run.training())
    LiveScreen.make_monitor = Hanging  # type: ignore[assignment]
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, asked.is_set)
        await pilot.press("3")
        await until(pilot, lambda: app.screen.query_one(ContentSwitcher).current == "pane-notices")
        assert not answers.is_set()
        answers.set()


async def test_notices_are_counted_and_new_ones_shown() -> None:
    backend = FakeBackend()
    app = app_on("live", backend, fake_run.training())
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shown(pilot, "Notices (1)")
        assert "adamw_torch is used" not in screen_text(app)  # an old one is not shown again
        backend.feed([ev.Notice(code="x", message=say("Something [/new] came up."))])
        await shown(pilot, "Something [/new] came up.")
        assert "Notices (2)" in screen_text(app)


async def test_download_is_shown_while_the_model_loads() -> None:
    backend = FakeBackend()
    backend._lines.partial = "model.safetensors:  45%|####"
    app = app_on("live", backend, fake_run.loading())
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "model.safetensors:  45%|####")
