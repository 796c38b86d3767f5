"""Pictures of the training methods: their step of the wizard, their panes, and their demos."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from engine.config import presets
from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from engine.protocol import events as ev
from tests.helpers import fake_run
from tests.helpers.fake_run import START, FakeBackend, app_on
from tests.helpers.method_runs import fix_lights, scored, spec_of, trained_by
from tests.helpers.runs_on_home import made
from tests.helpers.waiting import still
from tests.helpers.wizard_driver import RecordingBackend, settle
from tui.app import LorisApp
from tui.screens import home as home_screen
from tui.state.draft import Draft
from tui.text.method import CHOICES

pytestmark = [
    pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=["80x24", "120x36"]),
    pytest.mark.parametrize("language", ["en", "zh"]),
]
Compare = Callable[..., bool]
Size = tuple[int, int]


@pytest.fixture(autouse=True)
def demos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Presets that stand for the demos, and rules for the lights that never change."""
    fix_lights(monkeypatch)
    monkeypatch.setattr(home_screen, "REFRESH_SECONDS", 3600.0)
    folder = tmp_path / "presets"
    folder.mkdir()
    for choice in CHOICES.values():
        spec = spec_of(choice.method, choice.full_finetuning)
        named = msgspec.structs.replace(spec, name=choice.preset, description=f"Learns by {choice.name}.")
        save_spec(folder / f"{choice.preset}.yaml", named)
    monkeypatch.setattr(presets, "shipped_folder", lambda: folder)
    return folder


def press(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def before(pilot: Pilot[Any]) -> None:
        await still(pilot, 0.2)
        await pilot.press(*keys)
        await still(pilot, 0.2)

    return before


@pytest.mark.parametrize("name", ["sft", "full", "cpt", "grpo"])
def test_method_step(snap_compare: Compare, name: str, size: Size, language: str) -> None:
    app = LorisApp(language=language, backend=RecordingBackend())
    choice = CHOICES[name]
    app.draft = Draft(RunSpec(name="mine"))
    app.draft["training.method"], app.draft["model.full_finetuning"] = choice.method, choice.full_finetuning
    app._start = "method"  # type: ignore[assignment]
    assert snap_compare(app, terminal_size=size, run_before=lambda pilot: settle(pilot))


def test_lora_of_the_whole_model(snap_compare: Compare, size: Size, language: str) -> None:
    app = LorisApp(language=language, backend=RecordingBackend())
    app.draft = Draft(spec_of("sft", full_finetuning=True))
    app._start = "lora"  # type: ignore[assignment]
    assert snap_compare(app, terminal_size=size, run_before=lambda pilot: settle(pilot))


@pytest.mark.parametrize("method", ["dpo", "grpo"])  # the others have the same pane
def test_live(snap_compare: Compare, method: str, size: Size, language: str) -> None:
    events = trained_by(method, fake_run.training())
    app = app_on("live", FakeBackend(), events, language=language, spec=spec_of(method))
    assert snap_compare(app, terminal_size=size, run_before=press("7"))


def test_scored_answers(snap_compare: Compare, size: Size, language: str) -> None:
    events = [*trained_by("grpo", fake_run.training()), scored(0, (1.0, 1.0)), scored(34)]
    app = app_on("live", FakeBackend(), events, language=language, spec=spec_of("grpo"))
    assert snap_compare(app, terminal_size=size, run_before=press("8"))


def test_demos_on_home(snap_compare: Compare, size: Size, language: str) -> None:
    app = LorisApp(language=language, backend=RecordingBackend())

    async def before(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        await pilot.press("down")
        await settle(pilot)

    assert snap_compare(app, terminal_size=size, run_before=before)


def test_list_of_demos(snap_compare: Compare, size: Size, language: str) -> None:
    app = LorisApp(language=language, backend=RecordingBackend())

    async def before(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        await pilot.press("down", "enter")
        await settle(pilot)

    assert snap_compare(app, terminal_size=size, run_before=before)


def test_compare(snap_compare: Compare, size: Size, language: str) -> None:
    app = LorisApp(backend=FakeBackend(alive=False), language=language)
    app.compared = tuple(
        made(
            f"{name} {number}", [*trained_by(name, fake_run.finished()), ev.EngineEnded(exit_code=0)],
            START + 9000 * number, method=name,
        )
        for number, name in enumerate(("dpo", "kto"))
    )  # fmt: skip
    app._start = "compare"  # type: ignore[assignment]
    assert snap_compare(app, terminal_size=size, run_before=press())
