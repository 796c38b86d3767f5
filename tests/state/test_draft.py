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
