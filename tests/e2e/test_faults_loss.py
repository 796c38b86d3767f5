"""A loss that is no number, or of no use: training ends before the good checkpoint goes; the best one is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.run_spec import RunSpec
from engine.protocol import events as ev
from engine.runs import manifest
from engine.runs.run_list import summarise
from tests.helpers.engine_process import with_changes
from tests.helpers.run_invariants import check_after_fault
from tests.helpers.short_run import run_to_end, small
from tui.state.run_status import status_lines, status_of


def test_nan_loss_ends_before_the_good_checkpoint_goes(demo: RunSpec, tmp_path: Path) -> None:
    spec = small(demo, save_total_limit=1, logging_steps=8)  # the checkpoint comes before the loss is seen
    engine = run_to_end(tmp_path / "run", spec, "--exit", LORIS_FAULT="nan@5")
    assert engine.finish() == 1
    seen = check_after_fault(engine, failure="diverged", state="failed", alive=False, checkpoint=4, trained=False)
    assert "step 4" in seen["failure"]["hint"]


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_finite_loss_out_of_hand_ends_before_the_good_checkpoint_goes(
    demo: RunSpec, tmp_path: Path, every: int
) -> None:
    spec = small(demo, save_total_limit=1, logging_steps=every, max_steps=40)
    engine = run_to_end(tmp_path / "run", spec, "--exit", LORIS_FAULT="blowup@5")
    assert engine.finish() == 1
    losses = [one.loss for one in engine.events_of(ev.Step)]
    assert None not in losses
    seen = check_after_fault(engine, failure="diverged", state="failed", alive=False, checkpoint=4, trained=False)
    assert "step 4" in seen["failure"]["hint"]
    assert [one.step for one in engine.events_of(ev.CheckpointSaved)] == [2, 4]
    assert engine.events_of(ev.Step)[-1].step < 20
    assert [one.code for one in engine.events_of(ev.Notice)].count("loss_high") == 1


def test_the_first_loss_is_looked_at_and_told(demo: RunSpec, tmp_path: Path) -> None:
    """Far above ln(vocabulary): a warning in the events, from which the live screen has it, and in the status."""
    spec = small(demo, save_steps=0, max_steps=2, warmup_steps=0)
    engine = run_to_end(tmp_path / "run", spec, "--exit", LORIS_FAULT="blowup@1")
    (notice,) = [one for one in engine.events_of(ev.Notice) if one.code == "first_loss"]
    assert notice.level == "warning"
    assert "worse than guessing" in str(notice.message)
    assert str(notice.message) in status_of(engine.folder).warnings
    assert any("worse than guessing" in line for line in status_lines(status_of(engine.folder)))


def test_the_best_checkpoint_by_evaluation_is_kept(demo: RunSpec, tmp_path: Path) -> None:
    spec = with_changes(small(demo, save_total_limit=2, eval_steps=2, max_steps=12), dataset={"test_size": 0.02})
    engine = run_to_end(tmp_path / "run", spec, "--exit", LORIS_FAULT="worsen@7")
    assert engine.finish() == 0
    measured = {one.step: one.eval_loss for one in engine.events_of(ev.Evaluated)}
    best = min(measured, key=lambda step: measured[step])
    assert best < 10, f"the fault did what it is for: {measured}"
    kept = manifest.list_checkpoints(engine.folder.checkpoints)
    assert [one.step for one in kept] == [12, best]
    assert kept[1].eval_loss == pytest.approx(measured[best])
    assert [one.step for one in engine.events_of(ev.CheckpointSaved) if one.best][-1] == best
    assert summarise(engine.folder).checkpoint == 12
    check_after_fault(engine, state="completed", trained=True)
