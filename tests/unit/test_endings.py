"""Why a run is over, from the traces that are left of it."""

from __future__ import annotations

import os
import time

import pytest

from engine.client import endings
from engine.client.endings import ending
from engine.spec import complete
from engine.spec import events as ev
from engine.spec.folder import RunFolder
from engine.spec.lock import hold
from engine.spec.state import RunState, fold
from engine.spec.text import say

STARTED = ev.EngineStarted(pid=1, hostname="h", versions={}, time=time.time())
TRAINING = ev.StageChanged(stage="training", time=time.time())


def code(folder: RunFolder, state: RunState) -> str:
    found = ending(folder, state)
    return found.code if found else ""


def test_every_way_to_end(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.log.write_text("".join(f"line {n}\n" for n in range(100)) + "the last words")
    assert code(folder, RunState()) == ""
    assert code(folder, fold([STARTED, TRAINING])) == "killed"
    assert code(folder, fold([STARTED, TRAINING, ev.EngineEnded(exit_code=143)])) == "terminated"
    stopped = ev.Stopped(mode="now", stage="training")
    assert code(folder, fold([STARTED, stopped, ev.EngineEnded(exit_code=0)])) == ""
    change = ev.Change(field="training.per_device_train_batch_size", value=1)
    failed = ev.Failed(code="out_of_memory", message=say("m"), stage="training", changes=(change,))
    found = ending(folder, fold([STARTED, failed, ev.EngineEnded(exit_code=1)]))
    assert found
    assert (found.code, found.changes, found.log[-1], len(found.log)) == (
        "out_of_memory", (change,), "the last words", endings.LOG_LINES,
    )  # fmt: skip
    monkeypatch.setattr(endings, "boot_time", lambda: time.time() + 60)
    assert code(folder, fold([STARTED, TRAINING])) == "rebooted"


def test_a_run_that_lives_has_not_ended(folder: RunFolder):
    folder.path.mkdir(parents=True, exist_ok=True)
    handle = hold(folder.lock)
    assert ending(folder, fold([STARTED])) is None
    os.close(handle)


def test_the_checkpoint_to_go_on_from_is_named(folder: RunFolder):
    path = folder.checkpoints / "checkpoint-7"
    path.mkdir(parents=True)
    (path / "weights").write_bytes(b"w")
    complete.seal(path, 7)
    found = ending(folder, fold([STARTED, TRAINING]))
    assert found
    assert "7" in str(found.hint)
    (path / "weights").write_bytes(b"x")
    found = ending(folder, fold([STARTED, TRAINING]))
    assert found
    assert "7" not in str(found.hint), "a broken one is not offered"
