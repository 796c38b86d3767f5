"""A planted token is nowhere but in the engine's own environment, through runs that fail and runs that go on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec
from engine.protocol import events as ev
from tests.helpers.engine_process import PLANTED, Engine, with_changes
from tests.helpers.run_invariants import check_after_fault
from tests.helpers.short_run import small
from tests.helpers.token_search import NOBODY, Watch, can_read_as, files_with


@pytest.fixture(scope="module")
def again(demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, bytes]:
    """(a run whose memory ran out, which started over with less and ended well; the command lines meanwhile)."""
    spec = with_changes(small(demo, retry_out_of_memory=True), export={"merged_16bit": True})
    engine = Engine(tmp_path_factory.mktemp("again") / "run", spec, "--exit", LORIS_FAULT="token,oom@6")
    with Watch() as watch:
        try:
            engine.process.wait(240)
        finally:
            engine.kill()
    return engine, watch.seen


def test_gpu_out_of_memory_is_gone_on_from_with_less(again: tuple[Engine, bytes]) -> None:
    engine, _ = again
    assert engine.finish() == 0
    (notice,) = [one for one in engine.events_of(ev.Notice) if one.code == "retry_smaller"]
    assert "per_device_train_batch_size = 1" in str(notice.message)
    assert [one.step for one in engine.events_of(ev.Resumed)] == [4]
    settings = load_spec(engine.folder.spec).training
    assert (settings.per_device_train_batch_size, settings.gradient_accumulation_steps) == (1, 2)
    assert len({one.effective_batch_size for one in engine.events_of(ev.TrainingStarted)}) == 1
    assert engine.events_of(ev.TrainingFinished)[-1].steps == 8
    assert [one.pid for one in engine.events_of(ev.EngineStarted)] == [engine.process.pid] * 2
    check_after_fault(engine, state="completed", alive=False, trained=True)


def test_no_token_after_a_failure_that_was_gone_on_from(again: tuple[Engine, bytes]) -> None:
    engine, seen = again
    assert (engine.folder.exports / "merged_16bit/config.json").is_file()
    assert b"-m\0engine" in seen, "the engine was among the processes looked at"
    assert PLANTED.encode() not in seen
    files = {path.name for path in engine.folder.path.rglob("*") if path.is_file()}
    assert {"events.jsonl", "engine.log", "spec.yaml"} <= files
    assert files_with(PLANTED, engine.folder.path) == []


def test_no_token_in_a_run_that_failed(demo: RunSpec, tmp_path: Path) -> None:
    """With a traceback in its log, and the end of that in the status."""
    engine = Engine(tmp_path / "run", small(demo), "--exit", LORIS_FAULT="token,slow@0.1,oom@4")
    with Watch() as watch:
        try:
            engine.wait_for(lambda: engine.events_of(ev.Step))
            environment = Path(f"/proc/{engine.process.pid}/environ")
            assert engine.finish() == 1
        finally:
            engine.kill()
    assert watch.seen
    assert PLANTED.encode() not in watch.seen
    seen = check_after_fault(engine, failure="out_of_memory", state="failed", checkpoint=2)
    assert any("Traceback" in line for line in engine.folder.log.read_text().splitlines())
    assert PLANTED not in repr(seen)
    assert files_with(PLANTED, tmp_path) == []
    assert not environment.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_cannot_read_the_environment_or_the_log(demo: RunSpec, tmp_path: Path) -> None:
    engine = Engine(tmp_path / "run", small(demo), "--exit", LORIS_FAULT="token,holdload")
    try:
        engine.wait_for_stage("loading")
        process = Path(f"/proc/{engine.process.pid}")
        assert not can_read_as(NOBODY, process / "environ")
        assert can_read_as(NOBODY, process / "cmdline"), "this test sees what can be read"
        assert engine.folder.log.stat().st_mode & 0o077 == 0
    finally:
        engine.kill()
    check_after_fault(engine, failure="killed", state="interrupted", checkpoint=None)
