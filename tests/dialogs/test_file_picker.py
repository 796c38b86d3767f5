"""The file picker, by keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.fake_run import screen_text
from tests.helpers.waiting import shown
from tests.helpers.wizard_driver import RecordingBackend, settle, wizard
from tui.app import LorisApp
from tui.dialogs.ask import FilePicker


async def test_a_file_is_picked_by_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "[red]x[nope]"
    folder.mkdir()
    (folder / "data.jsonl").write_text('{"instruction": "a", "output": "b"}\n', encoding="utf-8")
    (folder / "notes.md").touch()
    monkeypatch.chdir(tmp_path)
    app = LorisApp(language="en", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.go("dataset")
        await settle(pilot)
        await pilot.press("ctrl+o")
        await settle(pilot)
        assert isinstance(app.screen, FilePicker)
        await shown(pilot, "[red]x[nope]/")
        at = [entry.path for entry in app.screen._entries].index(folder)
        await pilot.press("home", *["down"] * at)
        await pilot.press("enter")
        await settle(pilot)
        assert "data.jsonl" in screen_text(app)
        assert "notes.md" not in screen_text(app)
        await pilot.press("end", "enter")
        await settle(pilot)
        assert app.draft["dataset.path"] == str(folder / "data.jsonl")


async def test_a_model_folder_is_picked_and_another_folder_rejected(tmp_path: Path) -> None:
    app = LorisApp(language="en", backend=RecordingBackend())
    app.draft["model.model_name"] = str(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.go("model")
        await settle(pilot)
        await pilot.press("ctrl+o")
        await settle(pilot)
        await pilot.press("home", "enter")  # "choose this folder" is the first
        await settle(pilot)
        assert wizard(pilot).STEP == "model"
        assert app.draft["model.model_name"] == str(tmp_path)
        await shown(pilot, "This folder is not a model")
