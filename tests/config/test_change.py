"""Changes of settings in a spec: by a user who resumes a run, and by Loris after an out-of-memory error."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.change import Change, apply_changes
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec, save_spec
from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from engine.runtime.event_writer import EventWriter
from engine.runtime.recovery import save_oom_fallback

SPEC = RunSpec(name="a run")
SMALLER = (
    Change(field="training.per_device_train_batch_size", value=1),
    Change(field="training.gradient_accumulation_steps", value=8),
)


def test_changes_replace_settings_and_keep_the_rest() -> None:
    changed = apply_changes(SPEC, (*SMALLER, Change(field="name", value="another")))
    assert changed.name == "another"
    assert changed.training.per_device_train_batch_size == 1
    assert changed.training.gradient_accumulation_steps == 8
    assert apply_changes(changed, ()) == changed
    assert changed.model == SPEC.model


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("training.per_device_train_batch_size", 0),
        ("training.max_steps", "many"),
        ("model.max_seq_length", -1),
        ("training.no_such", 1),
        ("nothing.at_all", 1),
        ("training.warmup_steps", 60),  # not shorter than max_steps: a rule across fields
    ],
)
def test_an_invalid_change_is_an_error_at_its_field(field: str, value: int | str) -> None:
    steps = Change(field="training.max_steps", value=60)
    with pytest.raises(SpecError) as caught:
        apply_changes(SPEC, (steps, Change(field=field, value=value)))
    assert [error.field for error in caught.value.errors] == [field if field != "nothing.at_all" else "nothing"]


def test_smaller_settings_are_saved_after_out_of_memory(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    save_spec(folder.spec, SPEC)
    record = EventWriter(folder.events)
    with pytest.raises(SpecError, match=r"model\.max_seq_length"):
        save_oom_fallback(folder, SPEC, (Change(field="model.max_seq_length", value=0),), record)
    assert load_spec(folder.spec) == SPEC, "no broken spec.yaml"
    assert not folder.events.read_bytes()
    save_oom_fallback(folder, SPEC, SMALLER, record)
    assert load_spec(folder.spec) == apply_changes(SPEC, SMALLER)
    notice = ev.decode(folder.events.read_bytes())
    assert isinstance(notice, ev.Notice)
    assert "training.per_device_train_batch_size = 1" in str(notice.message)
