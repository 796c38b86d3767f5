"""Events and the state they fold into."""

from __future__ import annotations

import pytest

from engine.config.change import Change
from engine.messages.message import Message, say
from engine.protocol import events as ev
from engine.protocol.curve import Curve
from engine.protocol.state import RunState, fold

CARD = ev.Device(kind="cuda", name="T4", total_bytes=100)
FINISHED = ev.TrainingFinished(
    outcome="completed",
    steps=2,
    train_loss=None,
    seconds=9,
    device=CARD,
    start_reserved_bytes=10,
    peak_reserved_bytes=25,
)
ONE_OF_EACH: list[ev.AnyEvent] = [
    ev.EngineStarted(pid=1, hostname="h", versions={"torch": "2"}, time=5.0),
    ev.StageChanged(stage="loading"),
    ev.Notice(code="c", message=say("took {n}", n=1), level="warning"),
    ev.ModelLoaded(model_name="m", parameters=1, dtype="float16", load_in_4bit=True, device=CARD, reserved_bytes=1),
    ev.AdapterAdded(trainable_parameters=1, total_parameters=2),
    ev.DatasetReady(rows=1, eval_rows=0, format="alpaca", columns=("a",), tokens=1, learned_tokens=1,
                    truncated_rows=0, instruction_part="", response_part="", example_raw="你\n", example_text="",
                    example_learned=""),
    ev.TrainingStarted(total_steps=4, num_train_epochs=1, effective_batch_size=8, optim="o", dtype="d",
                       reserved_bytes=1, elapsed=10.0),
    ev.Step(step=1, epoch=0.5, loss=2.0, learning_rate=1e-4, elapsed=12.0),
    ev.Evaluated(step=1, eval_loss=3.0),
    ev.CheckpointSaved(step=1, path="p"),
    ev.Resumed(step=1, path="p"),
    ev.Stopped(mode="now", stage="training", checkpoint=1, adapter=True),
    FINISHED,
    ev.Exported(kind="adapter", path="p", total_bytes=1, seconds=1),
    ev.Pushing(kind="adapter", repo_id="o/n", step="uploading", file="f", done_bytes=1, total_bytes=2, waiting=1.0),
    ev.PushFailed(kind="adapter", repo_id="o/n", code="c", message=say("m"), hint=say("h"), field="token"),
    ev.Pushed(kind="adapter", path="p", repo_id="o/n", url="u", commit="c", private=True, files=1, total_bytes=2,
              seconds=1),
    ev.Answered(prompt="p", answer="a", adapter=True, tokens=1, seconds=1, finish_reason="eos"),
    ev.Failed(code="c", message=say("m"), hint=None, field="dataset.path", stage="preparing",
              changes=(Change(field="training.learning_rate", value=1e-4),)),
    ev.EngineEnded(exit_code=2),
]  # fmt: skip


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda e: type(e).__name__)
def test_events_survive_the_file(event: ev.AnyEvent):
    line = ev.encode(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert ev.decode(line) == event


def test_there_is_one_of_each():
    assert {type(e) for e in ONE_OF_EACH} == set(ev.AnyEvent.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b'{"type":"FromTheFuture","x":1}', b'{"type":"Step"}', b"[]", b"\xff\xfe", b'{"pid":1}', b"null"],
)
def test_what_cannot_be_understood_is_skipped(line: bytes):
    assert ev.decode(line) is None


def test_fields_of_a_newer_loris_are_ignored():
    assert ev.decode(b'{"type":"StageChanged","stage":"ready","colour":"red"}') == ev.StageChanged(stage="ready")


def test_the_state_after_everything():
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


def test_replay_in_pieces_is_the_same():
    whole, pieces = fold(ONE_OF_EACH), RunState()
    for event in ONE_OF_EACH:
        pieces.apply(event)
    assert pieces == whole


def test_time_left_comes_from_the_pace():
    state = fold(ONE_OF_EACH[:8])
    assert state.seconds_left == 6.0  # 2 s for the first of 4 steps
    assert fold(ONE_OF_EACH[:7]).seconds_left is None
    assert fold(ONE_OF_EACH).seconds_left is None


def test_a_resumed_run_draws_its_tail_anew():
    curve = Curve()
    for step, value in ((1, 5.0), (2, 4.0), (3, 3.0), (2, 4.5), (3, 3.5)):
        curve.add(step, value)
    assert list(zip(curve.steps, curve.values, strict=True)) == [(1, 5.0), (2, 4.5), (3, 3.5)]


def test_a_new_engine_forgets_the_end_of_the_old_one():
    state = fold([*ONE_OF_EACH, ONE_OF_EACH[0]])
    assert state.ended is None
    assert state.failed is None
    assert state.stage == "starting"
    assert state.trained


def test_what_a_new_engine_says_again_is_kept_once():
    said = [ev.Notice(code="c", message=say("took {n}", n=n), level="warning") for n in (1, 2, 1)]
    assert [str(one.message) for one in fold(said).notices] == ["took 1", "took 2"]


def test_messages_render_in_any_language_and_never_fail():
    message = say("took {n}", n=1)
    assert str(message) == "took 1"
    assert message.render(lambda text: "用了 {n}") == "用了 1"
    assert Message("lost {x}").render() == "lost {x}"
    assert Message("bad {").render() == "bad {"
