"""An event of every kind, in a possible order."""

from __future__ import annotations

from engine.config.change import Change
from engine.messages.message import say
from engine.protocol import events as ev

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
    ev.Evaluated(step=1, eval_loss=3.0, metrics={"rewards/margins": 0.5}),
    ev.Completions(
        step=1, answers=(ev.ScoredAnswer(prompt="p", answer="a", scores={"c": 1.0, "d": None}, reward=1.0),)
    ),
    ev.CheckpointSaved(step=1, path="p"),
    ev.Resumed(step=1, path="p"),
    ev.Stopped(mode="now", stage="training", checkpoint=1, adapter=True),
    FINISHED,
    ev.Exported(kind="adapter", path="p", total_bytes=1, seconds=1),
    ev.Pushing(kind="adapter", repo_id="o/n", step="uploading", file="f", done_bytes=1, total_bytes=2, waiting=1.0),
    ev.PushFailed(kind="adapter", repo_id="o/n", code="c", message=say("m"), hint=say("h"), field="token"),
    ev.Pushed(kind="adapter", path="p", repo_id="o/n", url="u", commit="c", private=True, files=1, total_bytes=2,
              seconds=1),
    ev.Undelivered(missing=("merged_16bit", "adapter → o/n")),
    ev.Answered(prompt="p", answer="a", adapter=True, tokens=1, seconds=1, finish_reason="eos"),
    ev.Failed(code="c", message=say("m"), hint=None, field="dataset.path", stage="preparing",
              changes=(Change(field="training.learning_rate", value=1e-4),)),
    ev.EngineEnded(exit_code=2),
]  # fmt: skip
