"""Killed at random moments and gone on with, over and over: nothing is ever broken, and the run gets done."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from engine.client.runs import summarise
from engine.spec import complete
from engine.spec import events as ev
from engine.spec.run import RunSpec
from tests.engine.process import Engine
from tests.engine.test_faults_resume import run_to_end, small
from tests.engine.test_faults_training import whole

CYCLES = int(os.environ.get("LORIS_STRESS_CYCLES", "100"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_random_kills(demo: RunSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance, counts = random.Random(3407), Counter[str]()
    folder, spec = tmp_path / "run", small(demo, max_steps=100_000, save_steps=2, save_total_limit=2)
    reached = 0
    for cycle in range(CYCLES):
        engine = Engine(folder, spec if not cycle else None, "--exit")
        try:
            before = len(engine.of(ev.Step))
            if chance.random() < 0.7:  # while it trains, most of the time
                engine.wait_for(lambda before=before, engine=engine: len(engine.of(ev.Step)) > before)
            time.sleep(chance.random() * 2)
            engine.process.send_signal(chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
            code = engine.process.wait(60)
        finally:
            engine.kill()
        seen = summarise(engine.folder)
        counts[f"exit {code}"] += 1
        counts[f"in stage {[e.stage for e in engine.of(ev.StageChanged)][-1]}"] += 1
        counts["half-written checkpoints"] += len(list(engine.folder.checkpoints.glob(f"{complete.PARTIAL}*")))
        whole(engine)
        newest = complete.newest(engine.folder.checkpoints)
        assert (newest.step if newest else 0) >= reached, "what was reached is not lost"
        reached = newest.step if newest else 0
        assert seen.state == "interrupted", seen
        assert not seen.trained
    last = run_to_end(folder, small(demo, max_steps=reached + 2), "--resume", "--exit")
    assert last.finish() == 0
    whole(last)
    with capsys.disabled():
        print(f"\n{CYCLES} cycles, step {reached + 2} reached, 0 broken:", dict(counts))  # noqa: T201
