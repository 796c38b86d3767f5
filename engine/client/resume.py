"""Resumes a run whose engine has exited, with changed settings where that is allowed."""

import subprocess

from engine.client.launch import launch
from engine.config.change import Change, apply_changes
from engine.config.resume_rules import resume_errors
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec
from engine.runs.folder import RunFolder
from engine.runs.manifest import epochs_at
from engine.runs.summary_fields import write_run_spec


def resume(
    folder: RunFolder, changes: tuple[Change, ...] = (), step: int = 0
) -> tuple[RunSpec, subprocess.Popen[bytes]]:
    """Start an engine that resumes from the newest complete checkpoint; returns its spec and its process.

    `step`: of that checkpoint. Raises `SpecError` at every setting that may not change, and OSError.
    """
    spec = load_spec(folder.spec)
    if changes:
        new = apply_changes(spec, changes)
        if step and (errors := resume_errors(spec, new, step, epochs_at(folder.checkpoints, step))):
            raise SpecError(None, errors)
        write_run_spec(folder, new)
        spec = new
    return spec, launch(folder, "resume")


def parse_change(text: str) -> Change:
    """Parse a change such as training.max_steps=200; `apply_changes` checks its value. Raises ValueError."""
    field, equals, value = text.partition("=")
    if not equals or not field.strip():
        raise ValueError(text)
    return Change(field=field.strip(), value=value.strip())
