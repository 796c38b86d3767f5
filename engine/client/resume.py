"""Resumes a run whose engine is gone, with other settings where they may change."""

from __future__ import annotations

from engine.client.launch import launch
from engine.config.change import Change, apply_changes
from engine.config.resume_rules import refusals
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec, save_spec
from engine.protocol.state import RunState
from engine.runs.folder import RunFolder


def stopped_early(state: RunState) -> bool:
    """Whether training ended before its last step because it was told to."""
    return state.finished is not None and state.finished.outcome == "stopped"


def resumable(state: RunState, checkpoint: int | None) -> bool:
    """Whether there is training to go on with: it was cut off, or stopped with a checkpoint to go on from."""
    if state.started is None:
        return False
    return not state.trained or state.unsaved or (stopped_early(state) and checkpoint is not None)


def resume(folder: RunFolder, changes: tuple[Change, ...] = (), step: int = 0) -> RunSpec:
    """Start an engine that goes on from the newest whole checkpoint; returns its spec.

    `step`: of that checkpoint. Raises `SpecError` at every setting that may not change, and OSError.
    """
    spec = load_spec(folder.spec)
    if changes:
        new = apply_changes(spec, changes)
        if step and (errors := refusals(spec, new, step)):
            raise SpecError(None, errors)
        save_spec(folder.spec, new)
        spec = new
    launch(folder, "resume")
    return spec


def parse_change(text: str) -> Change:
    """A change as typed, such as training.max_steps=200; `apply_changes` looks at its value. Raises ValueError."""
    field, equals, value = text.partition("=")
    if not equals or not field.strip():
        raise ValueError(text)
    return Change(field=field.strip(), value=value.strip())
