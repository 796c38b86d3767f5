"""The Dataset step with pairs: their columns are offered, and what cannot be learned is said at its field."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.waiting import until
from tests.helpers.wizard_driver import RecordingBackend, error_of, settle, wizard
from tui.app import LorisApp
from tui.dialogs.dataset import MappingDialog
from tui.widgets.fold import Fold
from tui.widgets.preview import Preview

CHOSEN, REJECTED = "dataset.chosen_column", "dataset.rejected_column"


async def test_the_columns_of_pairs_are_offered_and_swapped_ones_are_an_error(tmp_path: Path) -> None:
    rows = [{"q": f"{n}?", "good": "Yo", "bad": "No"} for n in range(3)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    app = LorisApp(language="en", backend=RecordingBackend())
    app.draft["dataset.path"] = str(tmp_path / "d.jsonl")
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        app.go("dataset")
        await settle(pilot)
        fold = wizard(pilot).query_one("#fold-2", Fold)
        assert not fold.display  # nothing is compared in SFT
        app.draft["training.method"] = "dpo"
        app.draft["dataset.instruction_column"] = "q"
        app.draft[CHOSEN], app.draft[REJECTED] = "good", "no"
        wizard(pilot).check_disk()  # type: ignore[attr-defined]
        await until(pilot, lambda: 'There is no column "no"' in error_of(wizard(pilot).field_at(REJECTED)))
        assert fold.display
        wizard(pilot).focus_field(REJECTED)
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MappingDialog))
        dialog = app.screen
        assert isinstance(dialog, MappingDialog)
        assert [value for value, *_ in dialog._options] == ["auto", "q", "good", "bad", ""]
        assert "rejected: No" in str(dialog._render_example("bad"))
        await pilot.press("escape")
        wizard(pilot).field_at(REJECTED).put("bad")
        await until(pilot, lambda: not error_of(wizard(pilot).field_at(REJECTED)))
        preview = app.screen.query_one(Preview)
        await until(pilot, lambda: "✓ chosen: Yo\n✗ rejected: No" in str(preview._body.render()))
