"""Faults while a real engine trains the demo: each is survived, and what is left is whole and truly told."""

from __future__ import annotations

import asyncio
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from engine.client.holder import holder, survived
from engine.client.runs import is_alive, summarise
from engine.client.stop import stop
from engine.spec import commands as co
from engine.spec import complete
from engine.spec import events as ev
from engine.spec.files import load_spec
from engine.spec.run import RunSpec
from engine.spec.state import fold
from tests.engine.process import Client, Engine, changed
from tests.engine.test_faults_resume import run_to_end, small

TRUTH_SECONDS = 5.0


def truth(engine: Engine, wanted: Callable[[], bool]) -> None:
    """The summary says so within 5 s."""
    until = time.monotonic() + TRUTH_SECONDS
    while not wanted():
        assert time.monotonic() < until, summarise(engine.folder)
        time.sleep(0.05)


def whole(engine: Engine) -> None:
    """Nothing that is offered is broken."""
    for one in complete.checkpoints(engine.folder.checkpoints):
        assert complete.fault(one.path) == ""
    if engine.folder.adapter.exists():
        assert complete.fault(engine.folder.adapter) == ""
        weights = load_file(engine.folder.adapter / "adapter_model.safetensors")
        assert all(bool(weight.isfinite().all()) for weight in weights.values())


def test_killed_in_the_middle_of_a_checkpoint(demo: RunSpec, tmp_path: Path) -> None:
    killed = run_to_end(tmp_path / "run", small(demo), "--exit", LORIS_FAULT="killcheckpoint@4")
    assert killed.process.returncode == -signal.SIGKILL
    truth(killed, lambda: summarise(killed.folder).state == "interrupted")
    assert summarise(killed.folder).checkpoint == 2
    assert list(killed.folder.checkpoints.glob(f"{complete.PARTIAL}*")), "it was being written"
    whole(killed)
    # The next is killed while it saves the adapter, the one after that while it merges.
    later = run_to_end(tmp_path / "run", None, "--exit", LORIS_FAULT="killadapter")
    assert later.process.returncode == -signal.SIGKILL
    assert [one.step for one in later.of(ev.Resumed)] == [2]
    assert not list(later.folder.checkpoints.glob(f"{complete.PARTIAL}*"))
    assert not later.folder.adapter.exists()
    seen = summarise(later.folder)
    assert (seen.state, seen.checkpoint, seen.trained) == ("interrupted", 8, False)
    merging = changed(load_spec(later.folder.spec), export={"merged_16bit": True})
    last = run_to_end(tmp_path / "run", merging, "--resume", "--exit", LORIS_FAULT="killexport")
    assert last.process.returncode == -signal.SIGKILL
    whole(last)
    truth(last, lambda: summarise(last.folder).state == "completed")
    assert summarise(last.folder).trained
    assert not (last.folder.exports / "merged_16bit").exists()
    assert survived(last.folder).adapter


def test_killed_while_it_loads(demo: RunSpec, tmp_path: Path) -> None:
    engine = Engine(tmp_path / "run", small(demo), "--exit")
    try:
        engine.wait_for_stage("loading")
    finally:
        engine.kill()
    truth(engine, lambda: summarise(engine.folder).state == "interrupted")
    assert summarise(engine.folder).checkpoint is None
    assert not is_alive(engine.folder)


def test_memory_runs_out_and_it_goes_on_with_less(demo: RunSpec, tmp_path: Path) -> None:
    spec = small(demo, retry_out_of_memory=True)
    engine = run_to_end(tmp_path / "run", spec, "--exit", LORIS_FAULT="oom@6")
    assert engine.finish() == 0
    (notice,) = [one for one in engine.of(ev.Notice) if one.code == "retry_smaller"]
    assert "per_device_train_batch_size = 1" in str(notice.message)
    assert [one.step for one in engine.of(ev.Resumed)] == [4]
    after = load_spec(engine.folder.spec).training
    assert (after.per_device_train_batch_size, after.gradient_accumulation_steps) == (1, 2)
    assert len({one.effective_batch_size for one in engine.of(ev.TrainingStarted)}) == 1
    assert engine.of(ev.TrainingFinished)[-1].steps == 8
    assert [one.pid for one in engine.of(ev.EngineStarted)] == [engine.process.pid] * 2
    whole(engine)
    truth(engine, lambda: summarise(engine.folder).state == "completed")


@pytest.mark.parametrize("fault", ["oom", "hostmem"])
def test_memory_runs_out_and_it_says_what_to_change(demo: RunSpec, tmp_path: Path, fault: str) -> None:
    engine = run_to_end(tmp_path / "run", small(demo), "--exit", LORIS_FAULT=f"{fault}@4")
    assert engine.finish() == 1
    (failed,) = engine.of(ev.Failed)
    assert (failed.code, failed.stage) == ("out_of_memory", "training")
    assert {change.field: change.value for change in failed.changes} == {
        "training.per_device_train_batch_size": 1,
        "training.gradient_accumulation_steps": 2,
    }
    assert "Traceback" in engine.folder.log.read_text()
    truth(engine, lambda: summarise(engine.folder).state == "failed")
    assert summarise(engine.folder).checkpoint == 2
    whole(engine)


def test_a_loss_that_is_no_number_ends_before_the_good_checkpoint_goes(demo: RunSpec, tmp_path: Path) -> None:
    spec = small(demo, save_total_limit=1, logging_steps=8)  # the checkpoint comes before the loss is seen
    engine = run_to_end(tmp_path / "run", spec, "--exit", LORIS_FAULT="nan@5")
    assert engine.finish() == 1
    (failed,) = engine.of(ev.Failed)
    assert failed.code == "diverged"
    assert "4" in str(failed.hint)
    assert not engine.folder.adapter.exists()
    assert [one.step for one in complete.checkpoints(engine.folder.checkpoints)] == [4]
    kept = load_file(engine.folder.checkpoints / "checkpoint-4/adapter_model.safetensors")
    assert all(bool(weight.isfinite().all()) for weight in kept.values())
    truth(engine, lambda: summarise(engine.folder).state == "failed")


def test_a_full_disk_keeps_the_last_good_state(demo: RunSpec, tmp_path: Path) -> None:
    """The kernel refuses files over some KB from step 2 on, so checkpoints, and then the adapter, find no room."""
    engine = Engine(tmp_path / "run", small(demo), "--exit", LORIS_FAULT="slow@0.3,say")
    unlimited = resource.RLIM_INFINITY
    try:
        engine.wait_for(lambda: engine.of(ev.CheckpointSaved))
        resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, (40_000, unlimited))
        engine.wait_for(lambda: any(one.code == "checkpoint_not_saved" for one in engine.of(ev.Notice)))
        assert [one.step for one in complete.checkpoints(engine.folder.checkpoints)] == [2]
        engine.wait_for(lambda: any(one.code == "save_waits" for one in engine.of(ev.Notice)))
        assert not engine.folder.adapter.exists()
        assert summarise(engine.folder).state == "saving"
        whole(engine)
        # Not even an event fits now; it waits for room, and is not lost.
        size = engine.folder.events.stat().st_size
        resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, (size, unlimited))
        time.sleep(0.5)
        resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
        assert engine.finish() == 0
    finally:
        engine.kill()
    assert [step.step for step in engine.of(ev.Step)] == list(range(1, 9))
    whole(engine)
    truth(engine, lambda: summarise(engine.folder).state == "completed")


def test_events_wait_while_the_disk_is_full(demo: RunSpec, tmp_path: Path) -> None:
    engine = Engine(tmp_path / "run", small(demo, save_steps=0), "--exit", LORIS_FAULT="slow@0.2")
    unlimited = resource.RLIM_INFINITY
    try:
        engine.wait_for(lambda: engine.of(ev.Step))
        size = engine.folder.events.stat().st_size + 20  # the next line is torn
        resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, (size, unlimited))
        time.sleep(0.8)
        assert is_alive(engine.folder)
        resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
        assert engine.finish() == 0
    finally:
        engine.kill()
    assert [step.step for step in engine.of(ev.Step)] == list(range(1, 9))
    assert engine.of(ev.TrainingFinished)[0].outcome == "completed"


def test_frozen_then_ended_by_the_client(demo: RunSpec, tmp_path: Path) -> None:
    engine = Engine(tmp_path / "run", small(demo, max_steps=500), "--exit", LORIS_FAULT="hang@4")
    try:
        engine.wait_for(lambda: len(engine.of(ev.Step)) == 3)
        engine.process.send_signal(signal.SIGSTOP)
        truth(engine, lambda: summarise(engine.folder).frozen)
        engine.process.send_signal(signal.SIGCONT)
        truth(engine, lambda: not summarise(engine.folder).frozen)
        assert holder(engine.folder) == engine.process.pid
        # It cannot hear a stop, and later hangs within a step, so that SIGTERM does not end it either.
        engine.process.send_signal(signal.SIGSTOP)
        left = asyncio.run(stop(engine.folder, "save", lambda _phase: None, 2.0))
        assert engine.process.wait(10) == -signal.SIGKILL
        assert (left.checkpoint, left.adapter) == (2, False)
    finally:
        engine.kill()
    whole(engine)
    truth(engine, lambda: summarise(engine.folder).state == "interrupted")
    assert holder(engine.folder) is None


def test_stop_now_and_discard_keep_what_is_whole(demo: RunSpec, tmp_path: Path) -> None:
    engine = Engine(tmp_path / "run", small(demo, max_steps=500), "--exit", LORIS_FAULT="hang@6")
    try:
        engine.wait_for(lambda: len(engine.of(ev.Step)) == 5)
        client = Client(engine.folder)
        assert isinstance(client.ask(co.Stop), co.Done)  # waits for a step that never ends
        time.sleep(0.3)
        assert is_alive(engine.folder)
        client.send(co.Stop, mode="now")
        assert engine.process.wait(10) == 0
    finally:
        engine.kill()
    (stopped,) = engine.of(ev.Stopped)
    assert (stopped.mode, stopped.stage, stopped.checkpoint, stopped.adapter) == ("now", "training", 4, False)
    whole(engine)
    truth(engine, lambda: summarise(engine.folder).state == "stopped")


@pytest.mark.parametrize("stage", ["starting", "loading"])
def test_stop_before_anything_was_learned(demo: RunSpec, tmp_path: Path, stage: ev.Stage) -> None:
    engine = Engine(tmp_path / "run", small(demo), "--exit", cold=stage == "starting")
    try:
        engine.wait_for(engine.folder.socket.exists)
        if stage == "loading":
            engine.wait_for_stage("loading")
        assert isinstance(Client(engine.folder).ask(co.Stop), co.Done)
        began = time.monotonic()
        assert engine.process.wait(20) == 0
        assert time.monotonic() - began < 5
    finally:
        engine.kill()
    (stopped,) = engine.of(ev.Stopped)
    assert stopped.stage == stage or (stage, stopped.stage) == ("loading", "preparing")  # the demo loads in no time
    assert (stopped.checkpoint, stopped.adapter) == (None, False)
    truth(engine, lambda: summarise(engine.folder).state == "stopped")


@pytest.mark.parametrize("how", ["stop", "SIGTERM"])
def test_stop_while_it_evaluates(demo: RunSpec, tmp_path: Path, how: str) -> None:
    spec = changed(small(demo, max_steps=50, eval_steps=2, save_steps=0), dataset={"test_size": 0.3})
    engine = Engine(tmp_path / "run", spec, "--exit", LORIS_FAULT="sloweval@0.3")
    try:
        engine.wait_for(lambda: len(engine.of(ev.Step)) >= 2)
        time.sleep(0.6)
        assert not engine.of(ev.Evaluated)
        if how == "stop":
            assert isinstance(Client(engine.folder).ask(co.Stop), co.Done)
        else:
            engine.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert engine.finish() == (0 if how == "stop" else 143)
        assert time.monotonic() - began < 15
    finally:
        engine.kill()
    assert not engine.of(ev.Evaluated)
    whole(engine)
    if how == "stop":
        (finished,) = engine.of(ev.TrainingFinished)
        assert (finished.outcome, finished.steps) == ("stopped", 2)
        assert summarise(engine.folder).trained
    else:
        assert summarise(engine.folder).checkpoint == 2
        assert not engine.folder.adapter.exists()


def test_torn_lines_and_a_clock_that_jumps_back(demo: RunSpec, tmp_path: Path) -> None:
    """Garbage in the events, killed twice; the time that training took is that of the steady clock."""
    engine = run_to_end(tmp_path / "run", small(demo), "--exit", LORIS_FAULT="slow@0.1,clock@3,kill@6")
    spent = fold(engine.events()).clock.training_seconds
    assert 0.5 < spent < 100
    with engine.folder.events.open("ab") as file:
        file.write(b'\xff\xfe\x00garbage\n{"type":"Step","step":"x"}\n[[[[\n{"type":"Step","step":99,"torn')
    truth(engine, lambda: summarise(engine.folder).state == "interrupted")
    assert summarise(engine.folder).steps == 5
    later = run_to_end(tmp_path / "run", None, "--exit", LORIS_FAULT="slow@0.1")
    assert later.finish() == 0
    state = fold(later.events())
    assert state.clock.training_seconds > spent + 0.4
    assert list(state.loss.steps) == [float(step) for step in range(1, 9)]
    whole(later)


def test_a_run_folder_made_read_only(demo: RunSpec, tmp_path: Path) -> None:
    """It takes nothing new for a while, not even from root: what is there stays, and the rest is saved later."""
    engine = Engine(tmp_path / "run", small(demo), "--exit", LORIS_FAULT="slow@0.2")
    places = [str(engine.folder.path), str(engine.folder.checkpoints)]

    def protect(flag: str) -> int:
        return subprocess.run(["chattr", flag, *places], capture_output=True, check=False).returncode

    try:
        engine.wait_for(lambda: engine.of(ev.CheckpointSaved))
        if protect("+i"):
            pytest.skip("this file system takes no such protection, or not from this user")
        engine.wait_for(lambda: any(one.code == "save_waits" for one in engine.of(ev.Notice)))
        assert any(one.code == "checkpoint_not_saved" for one in engine.of(ev.Notice))
        assert [one.step for one in complete.checkpoints(engine.folder.checkpoints)] == [2]
        assert not engine.folder.adapter.exists()
        truth(engine, lambda: summarise(engine.folder).state == "saving")
        protect("-i")
        assert engine.finish() == 0
    finally:
        protect("-i")
        engine.kill()
    whole(engine)
    truth(engine, lambda: summarise(engine.folder).state == "completed")
