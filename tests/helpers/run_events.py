"""Handwritten events of a run, written into its folder, and its lock."""

from __future__ import annotations

import fcntl
import os

from engine.messages.message import say
from engine.protocol import events as ev
from engine.runs.folder import RunFolder

CARD = ev.Device(kind="cpu", name="c", total_bytes=1)
STARTED = ev.EngineStarted(pid=1, hostname="h", versions={}, time=1000.0)
TRAINING = ev.TrainingStarted(total_steps=60, num_train_epochs=1, effective_batch_size=8, optim="o", dtype="d",
                              reserved_bytes=1)  # fmt: skip
STEP = ev.Step(step=7, epoch=0.1, loss=1.25, learning_rate=1e-4)
SAVED = ev.Exported(kind="adapter", path="p", total_bytes=1, seconds=1)
ENDED = ev.EngineEnded(exit_code=0)
FAILED = ev.Failed(code="c", message=say("m"))


def stage(name: ev.Stage) -> ev.StageChanged:
    return ev.StageChanged(stage=name)


def finished(outcome: ev.Outcome) -> ev.TrainingFinished:
    return ev.TrainingFinished(outcome=outcome, steps=60, train_loss=1.0, seconds=1, device=CARD,
                               start_reserved_bytes=1, peak_reserved_bytes=1)  # fmt: skip


def write_run(folder: RunFolder, *events: ev.AnyEvent) -> None:
    folder.events.write_bytes(b"".join(map(ev.encode, events)))


def lock_run(folder: RunFolder) -> int:
    handle = os.open(folder.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle
