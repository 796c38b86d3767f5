"""Resumes a run whose engine is gone, with other settings where they may change."""

from __future__ import annotations

import subprocess

from engine.client.launch import launch
from engine.config.change import Change
from engine.config.check import build
from engine.config.resume_rules import refusals
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec, to_values
from engine.runs.folder import RunFolder
from engine.runs.summary_fields import write_run_spec


def with_changes(spec: RunSpec, changes: tuple[Change, ...]) -> RunSpec:
    """The spec with these settings replaced. Raises `SpecError` naming each that is wrong."""
    values = to_values(spec)
    for change in changes:
        section, _, key = change.field.rpartition(".")
        (values.setdefault(section, {}) if section else values)[key] = change.value
    changed, errors = build(values)
    if changed is None or errors:
        raise SpecError(None, errors)
    return changed


def resume(
    folder: RunFolder, changes: tuple[Change, ...] = (), step: int = 0
) -> tuple[RunSpec, subprocess.Popen[bytes]]:
    """Start an engine that goes on from the newest whole checkpoint; returns its spec and its process.

    `step`: of that checkpoint. Raises `SpecError` at every setting that may not change, and OSError.
    """
    spec = load_spec(folder.spec)
    if changes:
        new = with_changes(spec, changes)
        if step and (errors := refusals(spec, new, step)):
            raise SpecError(None, errors)
        write_run_spec(folder, new)
        spec = new
    return spec, launch(folder, "resume")


def parse_change(text: str) -> Change:
    """A change as typed, such as training.max_steps=200; `with_changes` looks at its value. Raises ValueError."""
    field, equals, value = text.partition("=")
    if not equals or not field.strip():
        raise ValueError(text)
    return Change(field=field.strip(), value=value.strip())
