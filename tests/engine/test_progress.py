"""What the trainer's callbacks become, in this process."""

from __future__ import annotations

import math
from pathlib import Path

from transformers import TrainerControl, TrainerState, TrainingArguments

from engine.control import Control
from engine.progress import Progress
from engine.record import EventWriter
from engine.spec import events as ev
from engine.spec.state import fold
from tui.printer import step_facts


def test_a_loss_that_is_no_number_is_told_and_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    started = ev.TrainingStarted(
        total_steps=3, num_train_epochs=1, effective_batch_size=1, optim="", dtype="", reserved_bytes=0
    )
    progress = Progress(Control(EventWriter(path)), started, lambda step: None)
    arguments, flow = TrainingArguments(output_dir=str(tmp_path), report_to="none"), TrainerControl()
    for step, loss in enumerate((1.5, math.nan, math.inf), 1):
        state = TrainerState(global_step=step)
        progress.on_log(arguments, state, flow, logs={"loss": loss, "learning_rate": 1.0})
        progress.on_evaluate(arguments, state, flow, metrics={"eval_loss": loss})
    events = [ev.decode(line) for line in path.read_bytes().splitlines()]
    assert all(events), "an event that cannot be read back is lost"
    seen = fold(event for event in events if event)
    assert list(seen.loss.values) == list(seen.eval_loss.values) == [1.5]
    assert seen.step
    assert (seen.step.step, seen.step.loss) == (3, None)
    assert [notice.code for notice in seen.notices] == ["diverged"]
    assert step_facts(seen)[0] == "loss nan"
