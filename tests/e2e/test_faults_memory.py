"""The memory runs out, of the card or of the machine, in the middle of a real training."""

from __future__ import annotations

import resource
from pathlib import Path

from engine.config.run_spec import RunSpec
from engine.protocol import events as ev
from tests.helpers.engine_process import Engine
from tests.helpers.run_invariants import check_after_fault
from tests.helpers.short_run import run_to_end, small

SMALLER = {"training.per_device_train_batch_size": 1, "training.gradient_accumulation_steps": 2}


def test_gpu_out_of_memory_says_what_to_change(demo: RunSpec, tmp_path: Path) -> None:
    engine = run_to_end(tmp_path / "run", small(demo), "--exit", LORIS_FAULT="oom@4")
    assert engine.finish() == 1
    seen = check_after_fault(
        engine, failure="out_of_memory", state="failed", alive=False, checkpoint=2, exit_code=1
    )
    failure = seen["failure"]
    assert {change["field"]: change["value"] for change in failure["changes"]} == SMALLER
    assert failure["stage"] == "training"
    assert failure["message"]
    assert "batch size" in failure["hint"]
    assert any("OutOfMemoryError" in line for line in failure["log"])
    log = engine.folder.log.read_text()
    values = "training.per_device_train_batch_size = 1, training.gradient_accumulation_steps = 2"
    assert f"\nTry: {values}\n" in log


def test_host_memory_limit_says_whose_memory_it_was(demo: RunSpec, tmp_path: Path) -> None:
    """A limit of the kernel's on the process; each step takes more, until the kernel gives no more."""
    engine = Engine(tmp_path / "run", small(demo, max_steps=500), "--exit", LORIS_FAULT="hog@32")
    try:
        engine.wait_for(lambda: engine.events_of(ev.CheckpointSaved))
        taken = int(Path(f"/proc/{engine.process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(engine.process.pid, resource.RLIMIT_AS, (taken + (100 << 20), resource.RLIM_INFINITY))
        assert engine.finish() == 1
    finally:
        engine.kill()
    last = engine.events_of(ev.CheckpointSaved)[-1].step
    seen = check_after_fault(
        engine, failure="out_of_host_memory", state="failed", alive=False, checkpoint=last, exit_code=1
    )
    failure = seen["failure"]
    assert "machine's memory" in failure["message"]
    assert "Stop other programs that use memory" in failure["hint"]
    assert {change["field"]: change["value"] for change in failure["changes"]} == SMALLER
    assert any("MemoryError" in line or "memory" in line for line in failure["log"])
