"""A command after the run is allowed only by a yes in the review's dialog."""

from __future__ import annotations

import json
from pathlib import Path

from engine.runs.consent import has_consent
from engine.runs.folder import RunFolder
from tests.helpers.fake_run import screen_text
from tests.helpers.waiting import until
from tests.helpers.wizard_driver import RecordingBackend, at_step, settle
from tui.app import LorisApp
from tui.dialogs.ask import ConfirmModal
from tui.screens.live import LiveScreen

COMMAND = "touch done"


async def test_the_review_asks_before_a_command(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(
        "".join(json.dumps({"instruction": f"What is {n}?", "output": f"It is {n}."}) + "\n" for n in range(40))
    )
    backend = RecordingBackend()
    backend.new_run = lambda spec: RunFolder(tmp_path)  # type: ignore[method-assign]
    app = LorisApp(language="en", backend=backend)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: app.focused is not None)
        await pilot.press("n")
        await until(pilot, at_step(pilot, "model"))
        app.draft["dataset.path"] = str(data)
        app.draft["export.after_command"] = COMMAND
        app.draft["model.load_in_4bit"] = False
        app.draft["model.model_name"] = "unsloth/Qwen2-1.5B-Instruct"
        app.go("review")
        await until(pilot, at_step(pilot, "review"))
        await settle(pilot)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(app.screen, ConfirmModal))
        assert COMMAND in screen_text(app)
        await pilot.press("escape")
        await settle(pilot)
        assert not isinstance(app.screen, LiveScreen)
        assert not (app.session.folder and has_consent(app.session.folder, COMMAND))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(app.screen, ConfirmModal))
        await pilot.press("right", "enter")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))
        assert app.session.folder
        await until(pilot, lambda: bool(app.session.folder and has_consent(app.session.folder, COMMAND)))
