"""Engines that are killed, told to end or frozen, in each stage: what is left is whole, and goes on from there."""

from __future__ import annotations

import asyncio
import functools
import signal
import time
from pathlib import Path

import pytest

from engine.client import stop as stopping
from engine.client.launch import launch
from engine.client.stop import stop
from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from engine.protocol import events as ev
from engine.runs import lock_owner, manifest
from engine.runs.folder import RunFolder
from tests.helpers.engine_process import Engine, with_changes
from tests.helpers.run_invariants import check_after_fault, check_status
from tests.helpers.short_run import run_to_end, small


def test_killed_before_its_first_event(demo: RunSpec, tmp_path: Path) -> None:
    """As `loris run` starts it: nothing but the note of who was started tells that nobody is coming."""
    folder = RunFolder(tmp_path)
    save_spec(folder.spec, small(demo))
    process = launch(folder, "train")
    process.kill()
    process.wait()
    assert not folder.events.exists()
    seen = check_status(
        folder, "killed", {"state": "interrupted", "alive": False, "checkpoint": None, "trained": False}
    )
    assert "first step" in seen["failure"]["hint"]


def test_killed_while_it_loads(demo: RunSpec, tmp_path: Path) -> None:
    engine = Engine(tmp_path / "run", small(demo), "--exit", LORIS_FAULT="holdload")
    try:
        engine.wait_for_stage("loading")
    finally:
        engine.kill()
    seen = check_after_fault(
        engine, failure="killed", state="interrupted", alive=False, checkpoint=None, trained=False
    )
    assert seen["failure"]["stage"] == "loading"
    assert "kill -9" in seen["failure"]["message"]


def test_killed_in_the_middle_of_a_checkpoint(demo: RunSpec, tmp_path: Path) -> None:
    killed = run_to_end(tmp_path / "run", small(demo), "--exit", LORIS_FAULT="killcheckpoint@4")
    assert killed.process.returncode == -signal.SIGKILL
    check_after_fault(
        killed, failure="killed", state="interrupted", alive=False, checkpoint=2, trained=False, exit_code=137
    )
    assert list(killed.folder.checkpoints.glob(f"{manifest.PARTIAL}*")), "it was being written"
    later = run_to_end(tmp_path / "run", None, "--exit")
    assert later.finish() == 0
    assert [one.step for one in later.events_of(ev.Resumed)] == [2]
    assert not list(later.folder.checkpoints.glob(f"{manifest.PARTIAL}*"))
    check_after_fault(later, state="completed", alive=False, checkpoint=8, trained=True)


@pytest.fixture(scope="module")
def trained(demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A run whose first engine was killed while it saved the adapter, and whose second one was not."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    killed = run_to_end(folder, small(demo), "--exit", LORIS_FAULT="killadapter")
    assert killed.process.returncode == -signal.SIGKILL
    seen = check_after_fault(
        killed, failure="killed", state="interrupted", alive=False, checkpoint=8, trained=False
    )
    assert seen["failure"]["stage"] == "saving"
    assert list(folder.glob(".adapter.*")), "it was being written"
    later = run_to_end(folder, None, "--exit")
    assert later.finish() == 0
    return later


def test_killed_in_the_middle_of_saving_the_adapter(trained: Engine) -> None:
    check_after_fault(trained, state="completed", alive=False, checkpoint=8, trained=True, exit_code=0)
    assert not list(trained.folder.path.glob(".adapter.*"))
    assert [one.step for one in trained.events_of(ev.Step)] == list(range(1, 9)), "nothing was trained again"


def test_killed_in_the_middle_of_an_export(trained: Engine, demo: RunSpec) -> None:
    """The adapter is there; the merged model that was being made is not offered, and the next engine tidies up."""
    folder = trained.folder
    spec = with_changes(small(demo), export={"merged_16bit": True})
    killed = run_to_end(folder.path, spec, "--resume", "--exit", LORIS_FAULT="killexport")
    assert killed.process.returncode == -signal.SIGKILL
    assert list(folder.exports.glob(".merged_16bit.*/*.safetensors")), "it was being written"
    seen = check_after_fault(
        killed, failure="killed", state="undelivered", alive=False, checkpoint=8, trained=True,
        undelivered=["merged_16bit"],
    )  # fmt: skip
    assert seen["failure"]["stage"] == "exporting"
    assert f"loris export {folder.name} --rest" in seen["failure"]["hint"]
    assert [one.kind for one in killed.events_of(ev.Exported)] == ["adapter"] * 2
    assert not (folder.exports / "merged_16bit").exists()


def test_killed_while_a_new_adapter_takes_the_place_of_the_old(trained: Engine, demo: RunSpec) -> None:
    """More steps than before: until the new adapter is whole the old one is kept."""
    spec = small(demo, max_steps=10)
    killed = run_to_end(trained.folder.path, spec, "--resume", "--exit", LORIS_FAULT="killadapter")
    assert killed.process.returncode == -signal.SIGKILL
    assert not list(trained.folder.exports.glob(".*"))
    seen = check_after_fault(
        killed, failure="killed", state="interrupted", alive=False, checkpoint=10, trained=True
    )
    assert seen["failure"]["stage"] == "saving"
    swapped = run_to_end(trained.folder.path, None, "--resume", "--exit", LORIS_FAULT="killswap")
    assert swapped.process.returncode == -signal.SIGKILL
    check_status(trained.folder, "killed", {"state": "interrupted", "alive": False, "checkpoint": 10})
    served = Engine(trained.folder.path, None, "--serve")
    try:
        served.wait_for_stage("serving")
    finally:
        served.kill()
    assert manifest.find_fault(trained.folder.adapter) == "", "the old one is back"
    later = run_to_end(trained.folder.path, None, "--resume", "--exit")
    assert later.finish() == 0
    check_after_fault(later, state="completed", trained=True, checkpoint=10)


def test_lost_with_a_restart_of_the_machine(demo: RunSpec, tmp_path: Path) -> None:
    gone = run_to_end(tmp_path / "run", small(demo), "--exit", LORIS_FAULT="reboot@4")
    seen = check_after_fault(
        gone, failure="rebooted", state="interrupted", alive=False, checkpoint=2, exit_code=None
    )
    assert "restarted" in seen["failure"]["message"]
    assert "step 2" in seen["failure"]["hint"]


def test_sigterm_saves_a_checkpoint_first(demo: RunSpec, tmp_path: Path) -> None:
    engine = Engine(tmp_path / "run", small(demo, save_steps=0, max_steps=500), "--exit", LORIS_FAULT="slow@0.1")
    try:
        engine.wait_for(lambda: len(engine.events_of(ev.Step)) >= 3)
        engine.process.send_signal(signal.SIGHUP)  # the line drops: nothing happens
        engine.process.send_signal(signal.SIGTERM)
        assert engine.finish() == 143
    finally:
        engine.kill()
    step = engine.events_of(ev.Step)[-1].step
    seen = check_after_fault(
        engine,
        failure="terminated",
        state="interrupted",
        alive=False,
        checkpoint=step,
        trained=False,
        exit_code=143,
    )
    assert "SIGTERM" in seen["failure"]["message"]
    assert f"step {step}" in seen["failure"]["hint"]


def test_frozen_then_ended_by_the_client(demo: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "ASK_SECONDS", 0.5)
    monkeypatch.setattr(lock_owner, "terminate", functools.partial(lock_owner.terminate, timeout=0.5))
    engine = Engine(tmp_path / "run", small(demo, max_steps=500), "--exit", LORIS_FAULT="hang@4")
    try:
        engine.wait_for(lambda: len(engine.events_of(ev.Step)) == 3)
        engine.process.send_signal(signal.SIGSTOP)
        check_after_fault(engine, state="training", alive=True, frozen=True, checkpoint=2)
        engine.process.send_signal(signal.SIGCONT)
        check_after_fault(engine, state="training", alive=True, frozen=False)
        assert lock_owner.lock_owner(engine.folder) == engine.process.pid
        # It cannot hear a stop, and later hangs within a step, so that SIGTERM does not end it either.
        engine.process.send_signal(signal.SIGSTOP)
        left = asyncio.run(stop(engine.folder, "save", lambda _phase: None, 0.5))
        assert engine.process.wait(10) == -signal.SIGKILL
        assert (left.checkpoint, left.adapter) == (2, False)
    finally:
        engine.kill()
    check_after_fault(engine, failure="killed", state="interrupted", alive=False, frozen=False, checkpoint=2)
    assert lock_owner.lock_owner(engine.folder) is None


def test_sigterm_during_the_import_ends_it_at_once(demo: RunSpec, tmp_path: Path) -> None:
    engine = Engine(tmp_path / "run", demo, cold=True)
    try:
        engine.wait_for(engine.folder.socket.exists)
        began = time.monotonic()
        engine.process.send_signal(signal.SIGTERM)
        assert engine.finish() == 143
        assert time.monotonic() - began < 5
    finally:
        engine.kill()
    check_after_fault(
        engine, failure="terminated", state="interrupted", alive=False, checkpoint=None, exit_code=143
    )
