"""A draft of a spec: what was typed, and what changed."""

from __future__ import annotations

from engine.config.run_spec import RunSpec, TrainingSpec
from tui.state.draft import Draft


def test_a_draft_keeps_what_was_typed_and_what_changed() -> None:
    draft = Draft(RunSpec(training=TrainingSpec(learning_rate=1e-4)))
    draft["training.learning_rate"] = "1e-4"
    assert draft.as_typed("training.learning_rate") == "1e-4"
    assert not draft.differs("training.learning_rate")
    draft["training.learning_rate"] = "quick"
    draft["lora.r"] = "8"
    assert [(one.field, one.after) for one in draft.changes()] == [
        ("lora.r", 8),
        ("training.learning_rate", "quick"),
    ]
    assert draft.build()[0] is None
    assert draft.valid_parts().lora.r == 8
    assert draft.valid_parts().training.learning_rate == 1e-4


def test_epochs_typed_after_steps_mean_epochs_and_the_other_way_round() -> None:
    draft = Draft()
    draft["training.num_train_epochs"] = "1"  # as the default: whoever types it means it
    assert draft["training.max_steps"] == -1
    assert draft.differs("training.max_steps")
    assert draft.changed
    spec, errors = draft.build()
    assert errors == []
    assert spec is not None
    assert (spec.training.max_steps, spec.training.num_train_epochs) == (-1, 1.0)
    draft["training.max_steps"] = "9"
    assert draft["training.num_train_epochs"] == 1.0
    assert not draft.build()[1]
    draft["training.num_train_epochs"] = "many"
    assert [error.field for error in draft.build()[1]] == ["training.num_train_epochs"]
    assert draft["training.max_steps"] == 9
    draft["training.num_train_epochs"] = "2"
    assert draft["training.max_steps"] == -1


def test_the_warm_up_follows_the_steps_until_it_is_typed() -> None:
    draft = Draft()
    for typed, warmup in (("1", 0), ("5", 2), ("", 5), ("50", 5)):
        draft["training.max_steps"] = typed
        assert draft["training.warmup_steps"] == warmup
    draft["training.warmup_steps"] = "5"
    draft["training.max_steps"] = "5"
    assert [error.field for error in draft.build()[1]] == ["training.warmup_steps"]
