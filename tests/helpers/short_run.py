"""The demo with small steps, so that a test of a fault takes seconds."""

from __future__ import annotations

from pathlib import Path

from engine.config.run_spec import RunSpec
from tests.helpers.engine_process import Engine, with_changes


def small(demo: RunSpec, **training: object) -> RunSpec:
    """The demo with small steps and no test prompts."""
    settings: dict[str, object] = {
        "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "warmup_steps": 2, "max_steps": 8,
        "save_steps": 2, "dataset_num_proc": 1,
    }  # fmt: skip
    return with_changes(demo, lora={"r": 4}, training=settings | training, generation={"prompts": ()})


def run_to_end(folder: Path, spec: RunSpec | None, *flags: str, **environment: str) -> Engine:
    """An engine that ran to its end, or was killed by its fault."""
    engine = Engine(folder, spec, *flags, **environment)
    try:
        engine.process.wait(240)
    finally:
        engine.kill()
    return engine
