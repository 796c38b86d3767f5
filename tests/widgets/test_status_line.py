"""The status line: a text for every stage, and consistent times."""

from __future__ import annotations

import msgspec

from engine.protocol.state import RunState, fold
from tests.helpers import fake_run
from tui.text import amounts
from tui.widgets.status_line import progress_of


def test_status_has_words_for_every_stage() -> None:
    from engine.protocol.events import StageChanged

    for stage in ("starting", "loading", "ready", "preparing", "training", "saving", "serving", "exporting"):
        state = fold([*fake_run.loading(), StageChanged(stage=stage)])  # type: ignore[arg-type]
        assert progress_of(state, True, 0).words
        assert progress_of(state, False, 0).words == "The engine is gone"
    assert progress_of(RunState(), True, 0).words.startswith("Starting")
    assert progress_of(fold(fake_run.failed()), False, 0).words == "Failed"


def test_the_time_does_not_jump_back_at_the_end() -> None:
    """A run that started over from step 1: the last engine counts only its own part."""
    events = [
        msgspec.structs.replace(event, elapsed=10.0 * number)  # each engine counts from its start
        for engine in (fake_run.training(), fake_run.finished())
        for number, event in enumerate(engine)
    ]
    state = fold(events)
    assert state.finished is not None
    assert state.clock.training_seconds > state.finished.seconds
    assert f"time {amounts.duration(state.clock.training_seconds)}" in progress_of(state, True, 0).facts
