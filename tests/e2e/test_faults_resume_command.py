"""`loris resume RUN` on the real engine: after a kill, after a stop, and with other settings."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec
from engine.protocol import commands as co
from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from engine.runs.lock_owner import lock_owner
from engine.runs.run_list import is_alive
from tests.helpers.engine_process import TIMEOUT_SECONDS, Client, Engine
from tests.helpers.run_invariants import check_after_fault
from tests.helpers.short_run import run_to_end, small
from tests.helpers.waiting import wait_for
from tui.cli.main import main


def resume(engine: Engine, *more: str) -> int:
    return main(["--lang", "en", "resume", str(engine.folder.path), *more])


@pytest.fixture(scope="module")
def killed(demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = run_to_end(tmp_path_factory.mktemp("resume") / "run", small(demo), "--exit", LORIS_FAULT="kill@5")
    yield engine
    if pid := lock_owner(engine.folder):  # of an engine that a command started, in a test that failed
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("training.learning_rate=1e-5", "training.learning_rate: The optimizer state is resumed as it was"),
        ("training.max_steps=4", "training.max_steps: The run is already at step 4"),
        ("training.per_device_train_batch_size=4", "must stay 2"),
        ("lora.r=8", "lora.r: The adapter's shape is fixed"),
        ("training.max_stepz=9", "training.max_stepz"),
        ("training.max_steps=many", "training.max_steps"),
        ("max_steps", "Write a change as"),
    ],
)
def test_a_setting_that_may_not_change_is_refused_and_named(
    killed: Engine, capsys: pytest.CaptureFixture[str], change: str, words: str
) -> None:
    before = killed.folder.spec.read_bytes(), killed.folder.events.read_bytes()
    assert resume(killed, "--set", change) == 2
    assert words in capsys.readouterr().err
    assert not is_alive(killed.folder)
    assert (killed.folder.spec.read_bytes(), killed.folder.events.read_bytes()) == before
    check_after_fault(killed, failure="killed", state="interrupted", checkpoint=4)


@pytest.mark.slow
def test_killed_and_resumed_with_more_steps(killed: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """Through a Python of its own, as users have it. The engine stays to answer, until it is told to go."""
    assert resume(killed, "--set", "training.max_steps=10", "--set", "training.save_steps=5") == 0
    assert "Resumed from step 4." in capsys.readouterr().out
    assert resume(killed) == 2
    assert "is running" in capsys.readouterr().err
    wait_for(
        lambda: killed.events_of(ev.StageChanged)[-1].stage == "serving" or not is_alive(killed.folder),
        TIMEOUT_SECONDS,
    )
    Client(killed.folder).send(co.Shutdown)
    wait_for(lambda: not is_alive(killed.folder), TIMEOUT_SECONDS)
    assert [one.step for one in killed.events_of(ev.Resumed)] == [4]
    assert [one.step for one in killed.events_of(ev.Step)] == list(range(1, 11))
    assert load_spec(killed.folder.spec).training.max_steps == 10
    check_after_fault(killed, state="completed", alive=False, trained=True, checkpoint=10, step=10)
    assert resume(killed) == 2
    assert "nothing to resume" in capsys.readouterr().err


@pytest.fixture
def quick_start(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Engine]]:
    """The command's engines are forked rather than started anew."""
    started: list[Engine] = []

    def launch(folder: RunFolder, mode: str) -> Any:
        started.append(Engine(folder.path, None, f"--{mode}", "--exit", LORIS_FAULT="slow@0.05"))
        return started[-1].process

    monkeypatch.setattr("engine.client.resume.launch", launch)
    yield started
    for engine in started:
        engine.kill()


def test_stopped_early_with_an_adapter_and_resumed(
    demo: RunSpec, tmp_path: Path, quick_start: list[Engine], capsys: pytest.CaptureFixture[str]
) -> None:
    """The stop leaves a checkpoint of its very step; a complete run takes more steps."""
    stopped = Engine(tmp_path / "run", small(demo, save_steps=100), "--exit", LORIS_FAULT="slow@0.3")
    try:
        stopped.wait_for(lambda: len(stopped.events_of(ev.Step)) >= 3)
        assert isinstance(Client(stopped.folder).ask(co.Stop), co.Done)
        assert stopped.finish() == 0
    finally:
        stopped.kill()
    step = stopped.events_of(ev.Step)[-1].step
    assert step < 8
    check_after_fault(stopped, state="stopped", alive=False, trained=True, checkpoint=step)

    assert resume(stopped) == 0
    assert f"Resumed from step {step}." in capsys.readouterr().out
    assert quick_start[0].finish() == 0
    assert [one.step for one in stopped.events_of(ev.Resumed)] == [step]
    assert [one.step for one in stopped.events_of(ev.Step)] == list(range(1, 9))
    check_after_fault(stopped, state="completed", alive=False, trained=True, checkpoint=8)

    assert resume(stopped, "--set", "training.max_steps=9") == 0
    assert quick_start[1].finish() == 0
    assert stopped.events_of(ev.Step)[-1].step == 9
    check_after_fault(stopped, state="completed", alive=False, trained=True)
