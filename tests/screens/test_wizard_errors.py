"""Errors are shown at their fields, and nothing starts before they are corrected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.fake_run import screen_text
from tests.helpers.waiting import until
from tests.helpers.wizard_driver import RecordingBackend, error_of, open_step, settle, type_into, wizard
from tui.app import LorisApp
from tui.widgets.fold import Fold


async def test_errors_are_at_their_fields_and_start_is_refused() -> None:
    backend = RecordingBackend()
    app = LorisApp(language="en", preset="demo", start="review", backend=backend)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await open_step(pilot, "f6")
        field = await type_into(pilot, "training.per_device_train_batch_size", "lots")
        assert "Give a whole number from 1 to 4096." in error_of(field)
        other = await type_into(pilot, "training.max_steps", "3")
        assert error_of(other) == ""
        await type_into(pilot, "training.warmup_steps", "5")
        await open_step(pilot, "f8")
        assert "Batch size" in screen_text(app)
        await pilot.press("ctrl+r")
        await settle(pilot)
        assert backend.specs == []
        assert wizard(pilot).STEP == "review"
        await pilot.press("enter")  # the list of errors has the focus: jump to the field
        await settle(pilot)
        assert wizard(pilot).STEP == "training"
        assert app.focused is wizard(pilot).field_at("training.per_device_train_batch_size").editor
        # Once corrected, the rule across fields can be checked, and fails.
        field = await type_into(pilot, "training.per_device_train_batch_size", "4")
        assert error_of(field) == ""
        warmup = wizard(pilot).field_at("training.warmup_steps")
        assert "The warm-up must be shorter than the 3 steps" in error_of(warmup)


BAD_PLACES = {
    "missing dataset": ("f4", [("dataset.path", "gone.jsonl")], "There is no such file."),
    "empty dataset": ("f4", [("dataset.path", "empty.jsonl")], "This file is empty."),
    "malformed dataset": ("f4", [("dataset.path", "broken.jsonl")], "Line 1 is not valid JSON"),
    "missing column": (
        "f4",
        [("dataset.path", "good.jsonl"), ("dataset.output_column", "answer")],
        'There is no column "answer". The columns are: instruction, output.',
    ),
    "no model": ("f2", [("model.model_name", "bare")], "This folder is not a model"),
    "unwritable output": ("f8", [("training.output_dir", "good.jsonl/runs")], "is a file, not a folder"),
}


@pytest.mark.parametrize("what", BAD_PLACES)
async def test_preflight_errors_are_at_their_fields(what: str, tmp_path: Path) -> None:
    step, edits, words = BAD_PLACES[what]
    (tmp_path / "bare").mkdir()
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "broken.jsonl").write_text("{\n")
    (tmp_path / "good.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    backend = RecordingBackend()
    app = LorisApp(language="en", preset="demo", start="review", backend=backend)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await open_step(pilot, step)
        for fold in app.screen.query(Fold):
            fold.set_open(True)
        await settle(pilot)
        for path, value in edits:
            typed = str(tmp_path / value) if path != "dataset.output_column" else value
            field = await type_into(pilot, path, typed)
        await until(pilot, lambda: words in error_of(field))
        await open_step(pilot, "f8")
        await pilot.press("ctrl+r")
        await settle(pilot)
        assert backend.launched in ([], ["wait"]), "nothing is trained"
        assert wizard(pilot).STEP in ("review", field.info.path.partition(".")[0])
