"""The runs on Home: rename, note, duplicate, prune, delete, compare. Keys in, files and screen out."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
import pytest
from rich.cells import cell_len
from textual.pilot import Pilot
from textual.screen import ModalScreen
from textual.widgets import Input

from engine.config.spec_files import load_spec, save_spec
from engine.protocol import events as ev
from engine.runs import manifest
from engine.runs.consent import has_consent
from engine.runs.folder import RunFolder
from engine.runs.labels import read_label
from tests.helpers import fake_run
from tests.helpers.fake_run import START, FakeBackend, screen_text
from tests.helpers.runs_on_home import made, slower
from tests.helpers.waiting import on_screen, shown, until
from tui.app import LorisApp
from tui.plots.loss_plot import LossPlot
from tui.plots.overlay_plot import OverlayPlot
from tui.screens.compare import CompareScreen
from tui.screens.home import HomeRow, HomeScreen, _line
from tui.screens.live import LiveScreen
from tui.state.settings import load_settings, parse_price

SIZES = [(80, 24), (120, 36)]
COMMAND = "shutdown -h now"


@pytest.fixture
def two_runs(home: Path) -> tuple[RunFolder, RunFolder]:
    """Two learning rates: a finished run, and a later, interrupted one."""
    first = made("fast", [*fake_run.finished(), ev.EngineEnded(exit_code=0)], learning_rate=2e-4)
    second = made("slow", slower(fake_run.training(45)), START + 9000, learning_rate=2e-5)
    return first, second


def home(app: LorisApp) -> HomeScreen:
    assert isinstance(app.screen, HomeScreen)
    return app.screen


async def at_run(pilot: Pilot[None], title: str) -> None:
    """Move the cursor to the run with this title."""
    app = pilot.app
    assert isinstance(app, LorisApp)
    await until(pilot, lambda: title in screen_text(app))
    for _press in range(30):
        chosen = home(app).chosen_run()
        if chosen and chosen.title == title:
            return
        await pilot.press("down")
        await pilot.pause()
    raise AssertionError(f"{title} is not in the list")


async def asked(pilot: Pilot[None]) -> None:
    """Wait for the input dialog."""
    await until(pilot, lambda: isinstance(pilot.app.focused, Input))


def opened() -> LorisApp:
    return LorisApp(backend=FakeBackend(alive=False), language="en")


@pytest.mark.parametrize("size", SIZES)
async def test_rename_and_note(two_runs: tuple[RunFolder, RunFolder], size: tuple[int, int]) -> None:
    app = opened()
    async with app.run_test(size=size) as pilot:
        await at_run(pilot, "slow")
        await pilot.press("m")
        await shown(pilot, "resume from the last complete checkpoint")
        await pilot.press("n")
        await asked(pilot)
        await pilot.press("end", "2", "enter")
        await until(pilot, lambda: "slow2" in screen_text(app))
        await pilot.press("m")
        await on_screen(pilot, ModalScreen)
        await pilot.press("t")
        await asked(pilot)
        await pilot.press(*"good", "enter")
        await until(pilot, lambda: read_label(two_runs[1]).note == "good")
    assert read_label(two_runs[1]).title == "slow2"
    assert load_spec(two_runs[1].spec).name == "slow"  # what was trained stays as it was


@pytest.mark.parametrize("title", ["demo", "一个名字" * 4, "x" * 90, "名" * 60])
def test_a_title_of_any_length_fits_one_line(title: str) -> None:
    for note in ("stopped early · 11-25 09:25", "trained, ready to chat · 80/80 · loss 0.074"):
        line = _line(HomeRow("r1", title, note, "", lambda: None)).plain
        label = line[: line.index(" " + note)]
        assert label.strip() == title or label.endswith("…")
        assert cell_len(label) >= 2 + 30, "the notes stand below each other"
        assert cell_len(line) <= 77, "a line of 80 columns"


async def test_duplicate_into_the_wizard(two_runs: tuple[RunFolder, RunFolder]) -> None:
    app = opened()
    async with app.run_test(size=(80, 24)) as pilot:
        await at_run(pilot, "slow")
        await pilot.press("m")
        await on_screen(pilot, ModalScreen)
        await pilot.press("d")
        await until(pilot, lambda: app._screen_name == "review")
        assert app.draft["training.learning_rate"] == 2e-5


async def test_delete_asks_and_says_how_much(two_runs: tuple[RunFolder, RunFolder]) -> None:
    two_runs[1].log.write_bytes(b"0" * 3 * 1024**2)
    app = opened()
    async with app.run_test(size=(80, 24)) as pilot:
        await at_run(pilot, "slow")
        await pilot.press("m")
        await on_screen(pilot, ModalScreen)
        await pilot.press("x")
        await until(pilot, lambda: "Delete slow?" in screen_text(app))
        assert "Delete 3.0 MB" in screen_text(app)
        await pilot.press("enter")  # the safe choice has the focus
        await on_screen(pilot, HomeScreen)
        assert two_runs[1].path.is_dir()
        await pilot.press("m")
        await on_screen(pilot, ModalScreen)
        await pilot.press("x")
        await until(pilot, lambda: "Delete slow?" in screen_text(app))
        await pilot.press("right", "enter")
        await until(pilot, lambda: not two_runs[1].path.exists())
        assert two_runs[0].path.is_dir()


async def test_prune_says_what_it_frees(two_runs: tuple[RunFolder, RunFolder]) -> None:
    for step in (5, 10, 15):
        path = two_runs[1].checkpoints / f"checkpoint-{step}"
        path.mkdir(parents=True)
        (path / "w").write_bytes(b"w" * 1024**2)
        manifest.write_manifest(path, step)
    app = opened()
    async with app.run_test(size=(80, 24)) as pilot:
        await at_run(pilot, "slow")
        await pilot.press("m")
        await on_screen(pilot, ModalScreen)
        await pilot.press("p")
        await until(pilot, lambda: "Prune the checkpoints?" in screen_text(app))
        assert "2.0 MB" in screen_text(app)
        await pilot.press("right", "enter")
        await until(pilot, lambda: len(list(two_runs[1].checkpoints.iterdir())) == 1)


@pytest.mark.parametrize("size", SIZES)
async def test_compare_two_learning_rates(two_runs: tuple[RunFolder, RunFolder], size: tuple[int, int]) -> None:
    app = opened()
    async with app.run_test(size=size) as pilot:
        await at_run(pilot, "slow")
        assert home(app).check_action("compare", ()) is False
        await pilot.press("space")
        await until(pilot, lambda: "✓ slow" in screen_text(app))
        await at_run(pilot, "fast")
        await pilot.press("space")
        await until(pilot, lambda: "✓ fast" in screen_text(app))
        await pilot.press("c")
        await until(pilot, lambda: "Learning rate" in screen_text(app))
        assert isinstance(app.screen, CompareScreen)
        text = screen_text(app)
        assert "2e-05" in text
        assert "0.0002" in text
        assert "Batch size" not in text  # the same in both
        plot = app.screen.query_one(OverlayPlot)
        letters = {char for row in plot._rows[1:-1] for char, ink in row if ink.startswith("curve")}
        assert {"A", "B"} <= letters  # recognisable without colour
        await pilot.press("escape")
        await on_screen(pilot, HomeScreen)


async def test_six_runs_are_compared_and_no_seventh() -> None:
    for number in range(1, 8):
        events = [*fake_run.training(20), ev.Stopped(mode="now", stage="training"), ev.EngineEnded(exit_code=0)]
        made(f"run {number}", events, START + 9000 * number, learning_rate=float(f"{number}e-5"))
    app = opened()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await at_run(pilot, "run 7")
        for number in range(7, 0, -1):
            assert (run := home(app).chosen_run()) is not None
            assert run.title == f"run {number}"
            await pilot.press("space", "down")
        await shown(pilot, "6 runs at most are compared.")
        assert len(home(app)._marked) == 6
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen))
        await shown(pilot, "A 7e-05  B 6e-05  C 5e-05  D 4e-05  E 3e-05  F 2e-05")
        text = screen_text(app)
        plot = app.screen.query_one(OverlayPlot)
        assert [len(curve) for curve in plot.curves] == [20] * 6
        for letter, rate in zip("ABCDEF", range(7, 1, -1), strict=True):
            assert f" {letter}  run {rate} " in text


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("1.20 USD", (1.2, "USD")),
        ("€2", (2.0, "€")),
        (" 3,5元 ", (3.5, "元")),
        ("", (0.0, "")),
        ("-1", None),
        ("x", None),
    ],
)
def test_prices(text: str, price: tuple[float, str] | None) -> None:
    assert parse_price(text) == price


async def test_price_is_asked_and_shown(two_runs: tuple[RunFolder, RunFolder]) -> None:
    app = opened()
    async with app.run_test(size=(120, 36)) as pilot:
        await at_run(pilot, "fast")
        await pilot.press("p")
        await asked(pilot)
        await pilot.press("3", "6", "space", "E", "U", "R", "enter")
        await until(pilot, lambda: "EUR" in screen_text(app))
    assert (load_settings().price_per_hour, load_settings().currency) == (36.0, "EUR")


def cut_off(**started: object) -> list[ev.AnyEvent]:
    """A run whose engine ended without an event."""
    first, *rest = fake_run.training(45)
    assert isinstance(first, ev.EngineStarted)
    return [msgspec.structs.replace(first, **started), *rest]


ENDS: dict[str, tuple[str, list[ev.AnyEvent]]] = {
    "killed": ("interrupted (killed)", cut_off()),
    "restarted": ("interrupted (machine restarted)", cut_off(boot_id="another", hostname=os.uname().nodename)),
    "terminated": ("interrupted (terminated)", [*fake_run.training(45), ev.EngineEnded(exit_code=143)]),
    "failed": ("failed", fake_run.failed()),
    "early": ("stopped early", [*fake_run.finished("stopped", 34), ev.EngineEnded(exit_code=0)]),
}


@pytest.mark.parametrize(
    ("name", "keys"), [(name, "r") for name in ENDS] + [("early", "m r"), ("early", "R enter")]
)
async def test_runs_of_every_end_are_resumed_from_the_list(name: str, keys: str) -> None:
    words, events = ENDS[name]
    run = made(name, events)
    checkpoint = run.checkpoints / "checkpoint-20"
    checkpoint.mkdir(parents=True)
    manifest.write_manifest(checkpoint, 20)
    backend = FakeBackend(alive=False)
    backend.feed(events)
    app = LorisApp(backend=backend, language="en")
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await at_run(pilot, name)
        await shown(pilot, words, "r Resume")
        for key in keys.split():
            await pilot.press(key)
            await pilot.pause()
        await shown(pilot, "Resuming from step 20")
        await until(pilot, lambda: app._screen_name == "live")
        assert app.session.folder == run
        assert backend.launched == ["resume"]
        await until(pilot, lambda: bool(app.screen.query(LossPlot)))
        await pilot.pause()
        assert isinstance(app.screen, LiveScreen), "the earlier failure is not shown again"


async def test_a_complete_run_is_not_resumed_from_the_list(two_runs: tuple[RunFolder, RunFolder]) -> None:
    app = opened()
    async with app.run_test(size=(80, 24)) as pilot:
        await at_run(pilot, "fast")
        assert "Resume" not in screen_text(app)
        assert app.screen.check_action("resume", ()) is False


@pytest.mark.parametrize("agrees", [False, True])
async def test_the_command_of_a_run_is_asked_about_again_when_it_is_resumed(agrees: bool) -> None:
    """Its consent came with the folder, from another machine or from an older Loris."""
    run = made("early", ENDS["killed"][1])
    spec = load_spec(run.spec)
    save_spec(
        run.spec, msgspec.structs.replace(spec, export=msgspec.structs.replace(spec.export, after_command=COMMAND))
    )
    run.old_consent.write_text(hashlib.sha256(COMMAND.encode()).hexdigest())
    backend = FakeBackend(alive=False)
    backend.feed(ENDS["killed"][1])
    app = LorisApp(backend=backend, language="en")
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await at_run(pilot, "early")
        await pilot.press("r")
        await shown(pilot, "Run this command after success?", COMMAND, "Resume without it")
        assert backend.launched == []
        await pilot.press(*(["right"] if agrees else []), "enter")
        await until(pilot, lambda: backend.launched == ["resume"])
    assert has_consent(run, COMMAND) == agrees


async def test_delete_names_what_it_keeps(two_runs: tuple[RunFolder, RunFolder]) -> None:
    (two_runs[1].path / "thesis.pdf").write_text("mine")
    app = opened()
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        await at_run(pilot, "slow")
        await pilot.press("m")
        await on_screen(pilot, ModalScreen)
        await pilot.press("x")
        await shown(pilot, "Delete slow?")
        await pilot.press("right", "enter")
        await shown(pilot, "Not made by Loris, and therefore kept:")
    assert [path.name for path in two_runs[1].path.iterdir()] == ["thesis.pdf"]
