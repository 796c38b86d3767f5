"""Stop, in each stage that a real engine can be held in: to save, to discard, and by force."""

from __future__ import annotations

import asyncio
import functools
import signal
import time
from pathlib import Path

import pytest

from engine.client import stop as stopping
from engine.client.stop import Phase, stop
from engine.config.run_spec import RunSpec
from engine.protocol import commands as co
from engine.protocol import events as ev
from engine.runs import lock_owner
from engine.runs.run_list import is_alive
from tests.helpers.engine_process import Client, Engine, with_changes
from tests.helpers.run_invariants import check_after_fault
from tests.helpers.short_run import small

# Where it is held, and what is on disk by then: (stage, fault, newest checkpoint, adapter).
HELD: list[tuple[ev.Stage, str, int | None, bool]] = [
    ("loading", "holdload", None, False),
    ("preparing", "holdprepare", None, False),
    ("training", "sloweval@10000", 2, False),
    ("exporting", "holdexport", 4, True),
]

ENDS: dict[int, tuple[str, str | None]] = {
    0: ("stopped", None), 143: ("interrupted", "terminated"), -9: ("interrupted", "killed"),
}  # fmt: skip


def held(demo: RunSpec, folder: Path, stage: ev.Stage, fault: str) -> Engine:
    """An engine that has come to a stage, and stays there."""
    spec = with_changes(
        small(demo, max_steps=4, eval_steps=3),
        dataset={"test_size": 0.02 if stage == "training" else 0.0},
        export={"merged_16bit": True},
    )
    engine = Engine(folder, spec, "--exit", LORIS_FAULT=fault)
    engine.wait_for_stage(stage)
    if stage == "training":  # in the evaluation at the third step
        engine.wait_for(lambda: len(engine.events_of(ev.Step)) >= 3)
    if stage == "exporting":
        engine.wait_for(lambda: list(engine.folder.exports.glob(".merged_16bit.*/*.safetensors")))
    return engine


def each(*slow: ev.Stage) -> pytest.MarkDecorator:
    """Every stage; those that `slow` names, in which the same happens as in another, not by default."""
    cases = [pytest.param(*one, id=one[0], marks=[pytest.mark.slow] if one[0] in slow else []) for one in HELD]
    return pytest.mark.parametrize(("stage", "fault", "checkpoint", "adapter"), cases)


@each("preparing")
@pytest.mark.parametrize("mode", ["save", "discard"])
def test_stop(
    demo: RunSpec,
    tmp_path: Path,
    stage: ev.Stage,
    fault: str,
    checkpoint: int | None,
    adapter: bool,
    mode: co.StopMode,
) -> None:
    if stage == "training":
        fault = "sloweval@0.5"  # a row at a time: between two it hears
    promised = stage == "exporting" and mode == "save"
    if promised:
        fault = "holdexport@2"  # it comes to its end
    engine = held(demo, tmp_path / "run", stage, fault)
    phases: list[Phase] = []
    try:
        began = time.monotonic()
        left = asyncio.run(stop(engine.folder, mode, phases.append))
        after_training = mode == "save" and stage in ("training", "exporting")
        assert after_training or time.monotonic() - began < 10
        assert engine.process.wait(10) == 0
    finally:
        engine.kill()
    assert phases in (["asked"], ["asked", "delivering"][: 1 + after_training]), "it came by itself"
    saved = adapter or after_training
    assert left.adapter == saved
    state = "undelivered" if adapter and not promised else "completed" if promised else "stopped"
    seen = check_after_fault(engine, state=state, alive=False, trained=saved)
    assert seen["checkpoint"] == left.checkpoint
    assert left.checkpoint == checkpoint or (saved and left.checkpoint)
    assert not engine.events_of(ev.Evaluated)
    assert (engine.folder.exports / "merged_16bit").exists() == after_training
    if not after_training:
        (stopped,) = engine.events_of(ev.Stopped)
        assert (stopped.mode, stopped.stage, stopped.checkpoint, stopped.adapter) == (
            mode,
            stage,
            checkpoint,
            adapter,
        )


@each("loading", "preparing")
def test_stop_by_force(
    demo: RunSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: ev.Stage,
    fault: str,
    checkpoint: int | None,
    adapter: bool,
) -> None:
    """Its process is frozen and hears nothing: what is whole on disk is named, and stays."""
    monkeypatch.setattr(stopping, "ASK_SECONDS", 0.5)
    monkeypatch.setattr(lock_owner, "terminate", functools.partial(lock_owner.terminate, timeout=0.5))
    engine = held(demo, tmp_path / "run", stage, fault)
    phases: list[Phase] = []
    try:
        engine.process.send_signal(signal.SIGSTOP)
        left = asyncio.run(stop(engine.folder, "discard", phases.append, 0.2))
        code = engine.process.wait(10)
    finally:
        engine.kill()
    assert phases[-1] == "force"
    assert left.adapter == adapter
    # Woken to hear SIGTERM, it may hear first what it was asked before: then it goes of its own accord.
    assert code in ENDS
    state, failure = ENDS[code]
    if adapter:
        state, failure = "undelivered", failure if failure == "killed" else None
    seen = check_after_fault(engine, failure=failure, state=state, alive=False, trained=adapter)
    assert seen["checkpoint"] == left.checkpoint
    assert (left.checkpoint or 0) >= (checkpoint or 0)


def test_stop_at_once_while_a_step_hangs(demo: RunSpec, tmp_path: Path) -> None:
    engine = Engine(tmp_path / "run", small(demo, max_steps=500), "--exit", LORIS_FAULT="hang@6")
    try:
        engine.wait_for(lambda: len(engine.events_of(ev.Step)) == 5)
        client = Client(engine.folder)
        assert isinstance(client.ask(co.Stop), co.Done)  # waits for a step that never ends
        time.sleep(0.3)
        assert is_alive(engine.folder)
        client.send(co.Stop, mode="now")
        assert engine.process.wait(10) == 0
    finally:
        engine.kill()
    (stopped,) = engine.events_of(ev.Stopped)
    assert (stopped.mode, stopped.stage, stopped.checkpoint, stopped.adapter) == ("now", "training", 4, False)
    check_after_fault(engine, state="stopped", alive=False, checkpoint=4, stop_mode="now")


def test_stop_during_the_import(demo: RunSpec, tmp_path: Path) -> None:
    engine = Engine(tmp_path / "run", small(demo), "--exit", cold=True)
    try:
        engine.wait_for(engine.folder.socket.exists)
        assert isinstance(Client(engine.folder).ask(co.Stop), co.Done)
        assert engine.process.wait(5) == 0
    finally:
        engine.kill()
    (stopped,) = engine.events_of(ev.Stopped)
    assert (stopped.stage, stopped.checkpoint, stopped.adapter) == ("starting", None, False)
    check_after_fault(engine, state="stopped", alive=False, checkpoint=None, trained=False)


def test_sigterm_while_it_evaluates(demo: RunSpec, tmp_path: Path) -> None:
    engine = held(demo, tmp_path / "run", "training", "sloweval@0.5")
    try:
        engine.process.send_signal(signal.SIGTERM)
        assert engine.finish() == 143
    finally:
        engine.kill()
    assert not engine.events_of(ev.Evaluated)
    check_after_fault(engine, failure="terminated", state="interrupted", alive=False, checkpoint=3, trained=False)
