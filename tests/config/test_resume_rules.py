"""Which settings may change when a run is resumed."""

from __future__ import annotations

import msgspec

from engine.config.resume_rules import changed_fields, resume_errors
from engine.config.run_spec import RunSpec
from tests.helpers.engine_process import changed


def test_which_settings_may_change():
    old = RunSpec()
    for new in (
        changed(old, training={"max_steps": 100, "save_steps": 1, "report_to": "wandb"}),
        changed(old, generation={"temperature": 0.0}),
        changed(old, training={"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}),
    ):
        assert resume_errors(old, new, step=30) == []
    for section, field, value in (
        ("training", "learning_rate", 1e-5),
        ("training", "per_device_train_batch_size", 1),
        ("training", "seed", 1),
        ("lora", "r", 8),
        ("model", "model_name", "other"),
        ("dataset", "path", "other"),
    ):
        (refused,) = resume_errors(old, changed(old, **{section: {field: value}}), step=1)
        assert refused.field == f"{section}.{field}"
    (late,) = resume_errors(old, changed(old, training={"max_steps": 50}), step=50)
    assert late.field == "training.max_steps"
    assert changed_fields(old, msgspec.structs.replace(old, name="x")) == ["name"]
