"""Which settings may change when a run is resumed."""

from __future__ import annotations

import msgspec

from engine.config.resume_rules import changed_fields, resume_errors
from engine.config.run_spec import RunSpec
from tests.helpers.engine_process import with_changes


def test_which_settings_may_change():
    old = RunSpec()
    for new in (
        with_changes(old, training={"max_steps": 100, "save_steps": 1, "report_to": "wandb"}),
        with_changes(old, generation={"temperature": 0.0}),
        with_changes(old, training={"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}),
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
        (refused,) = resume_errors(old, with_changes(old, **{section: {field: value}}), step=1)
        assert refused.field == f"{section}.{field}"
    (late,) = resume_errors(old, with_changes(old, training={"max_steps": 50}), step=50)
    assert late.field == "training.max_steps"
    assert changed_fields(old, msgspec.structs.replace(old, name="x")) == ["name"]


def test_fewer_epochs_than_were_trained_are_refused_as_fewer_steps_are():
    by_steps = RunSpec()
    by_epochs = with_changes(by_steps, training={"max_steps": -1, "num_train_epochs": 3.0})
    for old in (by_steps, by_epochs):
        for epochs in (1.0, 1.5):
            new = with_changes(old, training={"max_steps": -1, "num_train_epochs": epochs})
            (late,) = resume_errors(old, new, step=30, epochs=1.5)
            assert late.field == "training.num_train_epochs"
            assert "already at epoch 1.5" in str(late.message)
        more = with_changes(old, training={"max_steps": -1, "num_train_epochs": 2.0})
        assert resume_errors(old, more, step=30, epochs=1.5) == []
    assert resume_errors(by_epochs, by_epochs, step=90, epochs=3.0) == []


def test_a_run_stays_with_all_weights_or_an_adapter_and_with_its_pieces() -> None:
    whole = with_changes(RunSpec(), model={"full_finetuning": True, "load_in_4bit": False})
    (refused,) = resume_errors(whole, with_changes(whole, model={"full_finetuning": False}), step=1)
    assert refused.field == "model.full_finetuning"
    assert "start a new run" in str(refused.message)
    assert resume_errors(whole, with_changes(whole, lora={"r": 8}), step=1) == [], "it is not used"
    pieces = with_changes(RunSpec(), training={"method": "cpt"})
    for section, field, value in (
        ("model", "max_seq_length", 512), ("cpt", "chunk_overlap", 8), ("cpt", "long_documents", "cut"),
    ):  # fmt: skip
        (refused,) = resume_errors(pieces, with_changes(pieces, **{section: {field: value}}), step=1)
        assert "order of the rows" in str(refused.message) or field == "long_documents"
        assert refused.field == f"{section}.{field}"
    cut = with_changes(pieces, cpt={"long_documents": "cut"})
    assert resume_errors(cut, with_changes(cut, model={"max_seq_length": 512}), step=1) == []
