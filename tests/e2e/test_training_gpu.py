"""Training on a real card: memory that runs out, memory that is told, and a kill that is gone on from."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from engine.client.launch import has_accelerator
from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec
from engine.protocol import events as ev
from tests.helpers.engine_process import Engine
from tests.helpers.run_invariants import check_after_fault
from tests.helpers.short_run import run_to_end, small

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not has_accelerator(), reason="there is no GPU")]
STEPS = 12


def large(demo: RunSpec, **training: object) -> RunSpec:
    """Steps that need far more memory than the weights, with a checkpoint after every second one."""
    return small(demo, per_device_train_batch_size=32, max_steps=6, **training)


def test_a_real_out_of_memory_names_the_next_smaller_setting(demo: RunSpec, tmp_path: Path) -> None:
    engine = run_to_end(tmp_path / "run", large(demo), "--exit", LORIS_FAULT="cap@4")
    assert engine.finish() == 1
    seen = check_after_fault(
        engine, failure="out_of_memory", state="failed", alive=False, checkpoint=2, exit_code=1
    )
    failure = seen["failure"]
    assert failure["stage"] == "training"
    assert {change["field"]: change["value"] for change in failure["changes"]} == {
        "training.per_device_train_batch_size": 16,
        "training.gradient_accumulation_steps": 2,
    }
    assert any("CUDA out of memory" in line for line in engine.folder.log.read_text().splitlines())


def test_a_real_out_of_memory_is_gone_on_from_with_less(demo: RunSpec, tmp_path: Path) -> None:
    spec = large(demo, retry_out_of_memory=True)
    engine = run_to_end(tmp_path / "run", spec, "--exit", LORIS_FAULT="cap@4")
    assert engine.finish() == 0
    assert [one.code for one in engine.events_of(ev.Notice)].count("retry_smaller") == 1
    assert [one.step for one in engine.events_of(ev.Resumed)] == [2]
    settings = load_spec(engine.folder.spec).training
    assert (settings.per_device_train_batch_size, settings.gradient_accumulation_steps) == (16, 2)
    assert {one.effective_batch_size for one in engine.events_of(ev.TrainingStarted)} == {32}
    assert [one.pid for one in engine.events_of(ev.EngineStarted)] == [engine.process.pid] * 2
    check_after_fault(engine, state="completed", alive=False, trained=True, step=6)


@pytest.fixture(scope="module")
def straight(demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = run_to_end(tmp_path_factory.mktemp("straight") / "run", small(demo, max_steps=STEPS), "--exit")
    assert engine.finish() == 0
    return engine


def test_the_memory_of_the_card_is_told(straight: Engine) -> None:
    (loaded,) = straight.events_of(ev.ModelLoaded)
    assert loaded.device.kind in ("cuda", "hip")
    assert loaded.device.total_bytes > loaded.reserved_bytes > 0
    steps = straight.events_of(ev.Step)
    assert len(steps) == STEPS
    assert all(one.peak_reserved_bytes >= one.reserved_bytes > 0 for one in steps)
    (finished,) = straight.events_of(ev.TrainingFinished)
    assert loaded.device.total_bytes > finished.peak_reserved_bytes >= finished.start_reserved_bytes > 0
    check_after_fault(straight, state="completed", alive=False, trained=True)


def test_killed_and_resumed_with_nearly_the_same_losses(straight: Engine, demo: RunSpec, tmp_path: Path) -> None:
    """A card adds in any order: near is all that can be asked."""
    killed = run_to_end(tmp_path / "run", small(demo, max_steps=STEPS), "--exit", LORIS_FAULT="kill@7")
    assert killed.process.returncode == -signal.SIGKILL
    check_after_fault(killed, failure="killed", state="interrupted", alive=False, checkpoint=6, trained=False)
    later = run_to_end(tmp_path / "run", None, "--resume", "--exit")
    assert later.finish() == 0
    once, again = ({one.step: one.loss for one in engine.events_of(ev.Step)} for engine in (straight, later))
    assert list(again) == list(once)
    assert max(abs(once[step] - again[step]) for step in once) < 0.1, (once, again)
    check_after_fault(later, state="completed", alive=False, trained=True, step=STEPS)
