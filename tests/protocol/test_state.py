"""The state of a run, folded from its events."""

from __future__ import annotations

from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.state import RunState, fold
from tests.helpers.every_event import FINISHED, ONE_OF_EACH


def test_the_clock_adds_up_engines_and_ignores_the_wall_clock():
    def engine(begin: float, *steps: float) -> list[ev.AnyEvent]:
        return [
            ev.EngineStarted(pid=1, hostname="h", versions={}, time=begin),
            ev.StageChanged(stage="loading", elapsed=1.0, time=begin + 1),
            ev.StageChanged(stage="training", elapsed=10.0, time=begin - 5000),  # the wall clock jumps back
            *(
                ev.Step(step=n, epoch=0, loss=1, learning_rate=1, elapsed=10 + at, time=0)
                for n, at in enumerate(steps, 1)
            ),
        ]

    state = fold([*engine(1e9, 5.0, 20.0), *engine(1e9 + 1e5, 7.0), ev.StageChanged(stage="saving", elapsed=18.0)])
    assert state.clock.training_seconds == 20.0 + 8.0
    assert state.clock.engine_seconds == 30.0 + 18.0


def test_time_left_after_a_resume_uses_the_pace_of_this_engine():
    started = ev.TrainingStarted(total_steps=100, num_train_epochs=1, effective_batch_size=8, optim="", dtype="",
                                 reserved_bytes=0, elapsed=10.0)  # fmt: skip
    step = ev.Step(step=60, epoch=0, loss=1, learning_rate=1, elapsed=30.0)
    assert fold([ev.Resumed(step=50, path=""), started, step]).seconds_left == 80.0


def test_the_state_after_all_events():
    state = fold(ONE_OF_EACH)
    assert state.stage == "ended"
    assert state.trained
    assert state.finished is FINISHED
    assert FINISHED.training_bytes == 15
    assert (list(state.loss.steps), list(state.loss.values)) == ([1.0], [2.0])
    assert list(state.eval_loss.values) == [3.0]
    assert state.failed
    assert state.failed.field == "dataset.path"
    assert (len(state.pushes), state.pushing, state.push_failed) == (1, None, None)
    assert len(state.notices) == len(state.answers) == len(state.exports) == 1


def test_events_applied_one_by_one_give_the_same_state():
    at_once, one_by_one = fold(ONE_OF_EACH), RunState()
    for event in ONE_OF_EACH:
        one_by_one.apply(event)
    assert one_by_one == at_once


def test_time_left_is_estimated_from_the_pace():
    state = fold(ONE_OF_EACH[:8])
    assert state.seconds_left == 6.0  # 2 s for the first of 4 steps
    assert fold(ONE_OF_EACH[:7]).seconds_left is None
    assert fold(ONE_OF_EACH).seconds_left is None


def test_a_new_engine_clears_the_end_of_the_old_one():
    state = fold([*ONE_OF_EACH, ONE_OF_EACH[0]])
    assert state.ended is None
    assert state.failed is None
    assert state.stage == "starting"
    assert state.trained


def test_a_repeated_notice_is_kept_once():
    notices = [ev.Notice(code="c", message=say("took {n}", n=n), level="warning") for n in (1, 2, 1)]
    assert [str(one.message) for one in fold(notices).notices] == ["took 1", "took 2"]
