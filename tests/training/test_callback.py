"""The events of the trainer's callbacks, in this process."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from engine.config.optimizers import NEEDS_GPU, OptimizerName, ScheduleName
from engine.protocol import events as ev
from engine.protocol.state import fold
from engine.runtime.control import Control
from engine.runtime.event_writer import EventWriter
from engine.training.callback import EventCallback, evaluations_without_gain
from tui.cli.printer import step_facts


def test_a_loss_that_is_not_finite_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    started = ev.TrainingStarted(
        total_steps=3, num_train_epochs=1, effective_batch_size=1, optim="", dtype="", reserved_bytes=0
    )
    progress = EventCallback(Control(EventWriter(path)), started, lambda step: None)
    arguments, flow = TrainingArguments(output_dir=str(tmp_path), report_to="none"), TrainerControl()
    for step, loss in enumerate((1.5, math.nan, math.inf), 1):
        state = TrainerState(global_step=step)
        progress.on_log(arguments, state, flow, logs={"loss": loss, "learning_rate": 1.0})
        progress.on_evaluate(arguments, state, flow, metrics={"eval_loss": loss})
    events = [ev.decode(line) for line in path.read_bytes().splitlines()]
    assert all(events), "each event can be read back"
    state_after = fold(event for event in events if event)
    assert list(state_after.loss.values) == list(state_after.eval_loss.values) == [1.5]
    assert state_after.step
    assert (state_after.step.step, state_after.step.loss) == (3, None)
    assert [notice.code for notice in state_after.notices] == ["diverged"]
    assert step_facts(state_after)[0] == "loss nan"


def log_losses(tmp_path: Path, losses: list[float]) -> tuple[EventCallback, list[bool], list[str]]:
    """(the callback after these losses, whether a checkpoint is allowed at each, the codes of the notices)."""
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "events.jsonl"
    started = ev.TrainingStarted(
        total_steps=9, num_train_epochs=1, effective_batch_size=1, optim="", dtype="", reserved_bytes=0
    )
    progress = EventCallback(Control(EventWriter(path)), started, lambda step: None)
    arguments, saved = TrainingArguments(output_dir=str(tmp_path), report_to="none"), []
    for step, loss in enumerate(losses, 1):
        flow = TrainerControl(should_save=True)
        progress.on_log(arguments, TrainerState(global_step=step), flow, logs={"loss": loss, "learning_rate": 1.0})
        saved.append(flow.should_save)
    events = [ev.decode(line) for line in path.read_bytes().splitlines()]
    return progress, saved, [event.code for event in events if isinstance(event, ev.Notice)]


def test_no_checkpoint_is_saved_while_the_loss_is_high(tmp_path: Path) -> None:
    progress, saved, notices = log_losses(tmp_path, [2.0, 1.5, 9.0, 10.0, 1.4])
    assert saved == [True, True, False, False, True]
    assert notices == ["loss_high"]
    assert not progress.diverged


def test_a_loss_that_stays_high_ends_the_training(tmp_path: Path) -> None:
    progress, saved, notices = log_losses(tmp_path, [2.0, *[11.0] * 5])
    assert saved == [True, *[False] * 5]
    assert notices == ["loss_high", "diverged"]
    assert progress.diverged


def test_noisy_or_high_first_losses_do_not_end_the_training(tmp_path: Path) -> None:
    for losses in (
        [11.0, 12.0, 10.5, 9.0, 8.0, 7.0],
        [0.1, 4.0, 7.5, 6.0, 7.9, 5.0],
        [3.0, 8.9, 8.9, 8.9, 8.9, 8.9],
    ):
        progress, saved, notices = log_losses(tmp_path / str(len(losses) + int(losses[0])), losses)
        assert all(saved)
        assert not notices
        assert not progress.diverged


def test_the_metrics_of_a_method_are_reported_with_the_step(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    started = ev.TrainingStarted(
        total_steps=9, num_train_epochs=1, effective_batch_size=1, optim="", dtype="", reserved_bytes=0
    )
    metrics = ("rewards/margins", "rewards/missing")
    progress = EventCallback(Control(EventWriter(path)), started, lambda step: None, metrics.__contains__)
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to="none")
    for step, margin in enumerate((0.5, math.nan), 1):
        logs = {"loss": 1.0, "learning_rate": 1.0, "rewards/margins": margin, "entropy": 3.0}
        progress.on_log(arguments, TrainerState(global_step=step), TrainerControl(), logs=logs)
    steps = [ev.decode(line) for line in path.read_bytes().splitlines()]
    assert [step.metrics or {} for step in steps if isinstance(step, ev.Step)] == [{"rewards/margins": 0.5}, {}]


@pytest.mark.parametrize(
    ("losses", "threshold", "count"),
    [([], 0, 0), ([2.0], 0, 0), ([2.0, 1.0], 0, 0), ([2.0, 2.0], 0, 1), ([2, 1.9, 1.8], 0.5, 2), ([1, 2, 0], 0, 0)],
)  # fmt: skip
def test_evaluations_without_a_gain_are_counted(losses: list[float], threshold: float, count: int) -> None:
    assert evaluations_without_gain(losses, threshold) == count


def test_every_optimizer_and_schedule_of_the_installed_transformers_is_offered() -> None:
    assert set(get_args(ScheduleName)) == {one.value for one in SchedulerType}
    assert set(get_args(OptimizerName)) == {one.value for one in OptimizerNames}
    assert set(get_args(OptimizerName)) > NEEDS_GPU
