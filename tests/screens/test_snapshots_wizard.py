"""Pictures of the wizard, in both languages and sizes. `pytest --snapshot-update` takes new ones.

To add a state, add a line to `STATES`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.config.run_spec import DatasetSpec, ModelSpec, RunSpec, TrainingSpec
from tests.helpers.wizard_driver import RecordingBackend, settle, wizard
from tui.app import LorisApp
from tui.screens import home
from tui.state.draft import Draft
from tui.widgets.fold import Fold

SIZES = [(80, 24), (120, 36)]
LANGUAGES = ["en", "zh"]

# name: (screen, field to focus, text to type into it, whether all folds are open)
STATES: dict[str, tuple[str, str, str, bool]] = {
    "home": ("home", "", "", False),
    "model": ("model", "", "", False),
    "dataset": ("dataset", "", "", False),
    "dataset-prompt": ("dataset", "dataset.prompt_template", "", True),
    "lora": ("lora", "", "", False),
    "training": ("training", "", "", False),
    "training-error": ("training", "training.learning_rate", "fast", True),
    "review": ("review", "", "", False),
    "review-error": ("review", "generation.temperature", "hot", True),
}


SPEC = RunSpec(
    name="who-are-you",
    model=ModelSpec(max_seq_length=1024),
    dataset=DatasetSpec(path="data/identity.jsonl"),
    training=TrainingSpec(max_steps=-1, num_train_epochs=2.0),
)


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working folder with data: pictures must not contain this machine's paths."""
    data = tmp_path / "data"
    data.mkdir()
    turns = [{"role": "user", "content": "你是谁？"}, {"role": "assistant", "content": "我是懒猴 Loris。"}]
    row = json.dumps({"messages": turns}, ensure_ascii=False) + "\n"
    (data / "identity.jsonl").write_text(row * 240, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(home, "REFRESH_SECONDS", 3600.0)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("state", STATES)
def test_wizard(snap_compare: Any, state: str, size: tuple[int, int], language: str) -> None:
    screen, field, typed, opened = STATES[state]
    app = LorisApp(language=language, backend=RecordingBackend())
    app.draft = Draft(SPEC)

    async def arrange(pilot: Pilot[None]) -> None:
        await settle(pilot)
        if screen != "home":
            app.go(screen, field)
        await settle(pilot)
        if opened:
            for fold in app.screen.query(Fold):
                fold.set_open(True)
            wizard(pilot).focus_field(field)
            await settle(pilot)
        if typed:
            await pilot.press("end", "ctrl+u", *typed)
        await settle(pilot)
        await settle(pilot)

    assert snap_compare(app, terminal_size=size, run_before=arrange)
