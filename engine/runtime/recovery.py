"""Cleans up the folder of an engine that was killed, and restarts the engine to resume training."""

import os
import sys
from typing import NoReturn

from engine.config.change import Change, apply_changes
from engine.config.local_paths import absolute_paths
from engine.config.resume_rules import resume_errors
from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import StopMode
from engine.runs import manifest
from engine.runs.folder import RunFolder
from engine.runs.own_files import is_own_folder, remove_leftovers, remove_stale, restore_or_finish
from engine.runs.python_process import environment, python
from engine.runs.summary_fields import write_run_spec
from engine.runtime.event_writer import EventWriter


class RestartEngine(Exception):
    """Restart in this process with the changed spec on disk."""


def clean_up_folder(folder: RunFolder) -> None:
    """Delete incomplete folders; restore an adapter that was being replaced. Needs the run's lock."""
    remove_leftovers(folder.checkpoints)
    old = folder.path / f".{folder.adapter.name}.old"  # as older versions named it
    if is_own_folder(old):
        restore_or_finish(old, folder.adapter)
    for parent in (folder.path, folder.exports, folder.checkpoints):
        remove_stale(parent)


def check_resume_rules(checkpoint: manifest.Checkpoint, spec: RunSpec) -> None:
    """Check that a checkpoint can be resumed with this spec. Raises `UserError` at a field that must not change."""
    path = checkpoint.path / "spec.yaml"
    if not path.is_file():
        return  # of an older Loris
    epochs = manifest.epochs_at(checkpoint.path.parent, checkpoint.step)
    errors = resume_errors(absolute_paths(load_spec(path)), spec, checkpoint.step, epochs)
    if errors:
        sys.stderr.write("\n".join([*(f"{error.field}: {error.message}" for error in errors), ""]))
        hint = say("Put the setting back, or start a new run with it.")
        raise UserError("resume_refused", errors[0].message, hint, errors[0].field)


def report_stop(folder: RunFolder, record: EventWriter, mode: StopMode) -> None:
    """Report that the engine was stopped, and what it can resume from."""
    kept = manifest.newest_checkpoint(folder.checkpoints)
    record.emit(
        ev.Stopped(
            mode=mode,
            stage=record.stage,
            checkpoint=kept.step if kept else None,
            adapter=folder.result.is_dir(),
        )
    )


def save_oom_fallback(folder: RunFolder, spec: RunSpec, changes: tuple[Change, ...], record: EventWriter) -> None:
    """Write a spec that uses less memory for the next engine. Raises `SpecError` (spec.yaml unchanged), OSError."""
    write_run_spec(folder, apply_changes(spec, changes))
    settings = ", ".join(f"{change.field} = {change.value}" for change in changes)
    message = say("The memory ran out: resuming with {settings}.", settings=settings)
    record.emit(ev.Notice(code="retry_smaller", message=message, level="warning"))


def restart(folder: RunFolder, exit_when_done: bool) -> NoReturn:
    """Replace this process by a new engine on the same folder, which frees all memory. Same pid; locks again."""
    command = python("-m", "engine", str(folder.path), "--resume", *(["--exit"] if exit_when_done else []))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, environment())
