"""Killed at random moments of every stage and resumed, over and over: nothing is ever broken or lost."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec, save_spec
from engine.protocol import events as ev
from engine.protocol.state import fold
from engine.runs import manifest
from engine.runs.folder import RunFolder
from tests.helpers.engine_process import Engine, with_changes
from tests.helpers.run_invariants import check_after_fault
from tests.helpers.short_run import run_to_end, small

CYCLES = int(os.environ.get("LORIS_STRESS_CYCLES", "100"))
SAVE_STEPS = 3
# What is waited for before the kill, and for how many seconds at most the kill comes after that.
MOMENTS = {"start": 0.2, "load": 0.2, "prepare": 0.3, "step": 0.8, "checkpoint": 0.04, "adapter": 0.1, "merge": 0.6}


def wait_for(engine: Engine, found: Callable[[], object]) -> bool:
    """Look closely; False when the engine ended first."""
    while not found():
        if engine.process.poll() is not None:
            return bool(found())
        time.sleep(0.001)
    return True


def reached(engine: Engine, moment: str, before: int) -> Callable[[], object]:
    """Whether the engine has come to a moment. `before`: the events of earlier engines."""
    folder = engine.folder

    def stage(name: ev.Stage) -> bool:
        return any(isinstance(e, ev.StageChanged) and e.stage == name for e in engine.events()[before:])

    return {
        "start": lambda: True,
        "load": lambda: stage("loading"),
        "prepare": lambda: stage("preparing"),
        "step": lambda: any(isinstance(e, ev.Step) for e in engine.events()[before:]),
        "checkpoint": lambda: any(folder.checkpoints.glob(f"{manifest.PARTIAL}*")),
        "adapter": lambda: any(folder.path.glob(".adapter.*")),
        "merge": lambda: any(folder.exports.glob(".merged*")),
    }[moment]


def expected(events: list[ev.AnyEvent]) -> tuple[str, str | None]:
    """(state, code of the failure) that the events must be told as."""
    kinds = [type(event) for event in events]

    def last(kind: type[ev.Event]) -> int:
        return max((i for i, one in enumerate(kinds) if one is kind), default=-1)

    saved = [i for i, e in enumerate(events) if isinstance(e, ev.Exported) and e.kind == "adapter"]
    end = events[-1] if events else None
    how = ("terminated" if end.exit_code == 143 else None) if isinstance(end, ev.EngineEnded) else "killed"
    if max(saved, default=-2) > last(ev.TrainingFinished) > last(ev.TrainingStarted):
        stages = [e.stage for e in events[last(ev.EngineStarted) :] if isinstance(e, ev.StageChanged)]
        state = "undelivered" if fold(events).undelivered else "completed"
        return state, how if stages[-1:] == ["exporting"] and how == "killed" else None
    return "interrupted", how


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_random_kills(demo: RunSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance, counts = random.Random(3407), Counter[str]()
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    spec = with_changes(
        small(demo, save_steps=SAVE_STEPS, eval_steps=SAVE_STEPS, save_total_limit=2),
        dataset={"test_size": 0.02},
    )
    step, seconds = 0, list[float]()
    for cycle in range(1, CYCLES + 1):
        began = time.monotonic()
        moment = chance.choice(list(MOMENTS))
        # To be killed at its end a run needs one that is near: more steps than before, as a user may give it.
        steps = step + 4 if moment in ("adapter", "merge") else step + 1000
        spec = with_changes(spec, training={"max_steps": steps}, export={"merged_16bit": moment == "merge"})
        save_spec(folder.spec, spec)
        engine = Engine(folder.path, None, "--resume", "--exit")
        before = len(engine.events())
        try:
            counts[f"reached {moment}: {wait_for(engine, reached(engine, moment, before))}"] += 1
            time.sleep(chance.random() * MOMENTS[moment])
            killed = engine.process.poll() is None
            engine.process.send_signal(chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
            code = engine.process.wait(60)
        finally:
            engine.kill()
        counts[f"exit {code}"] += 1
        counts[f"in stage {[e.stage for e in engine.events_of(ev.StageChanged)][-1:]}"] += killed
        counts["half-written checkpoints"] += len(list(folder.checkpoints.glob(f"{manifest.PARTIAL}*")))
        counts["half-written adapters"] += len(list(folder.path.glob(".adapter.*")))
        counts["half-written models"] += len(list(folder.exports.glob(".merged*")))
        state, failure = expected(engine.events())
        seen = check_after_fault(engine, state=state, failure=failure, alive=False, trained=folder.adapter.is_dir())
        counts[f"told {state} {failure or ''}".rstrip()] += 1
        newest = manifest.newest_checkpoint(folder.checkpoints)
        assert (newest.step if newest else 0) >= step, "what was reached is not lost"
        step = newest.step if newest else 0
        assert seen["checkpoint"] == (step or None)
        seconds.append(time.monotonic() - began)
        if cycle % 10 == 0:
            with capsys.disabled():
                print(f"cycle {cycle}: step {step}, {median(seconds):.1f} s each, {dict(counts)}", flush=True)  # noqa: T201
    save_spec(folder.spec, with_changes(load_spec(folder.spec), training={"max_steps": step + 2}))
    last = run_to_end(folder.path, None, "--resume", "--exit")
    assert last.finish() == 0
    check_after_fault(last, state="completed", alive=False, trained=True)
    logged = [one.step for one in last.events_of(ev.Step)]
    assert set(logged) == set(range(1, step + 3)), "no step was left out"
    with capsys.disabled():
        print(f"\n{CYCLES} cycles, {step + 2} steps, 0 broken, 0 lost: {dict(counts)}")  # noqa: T201
