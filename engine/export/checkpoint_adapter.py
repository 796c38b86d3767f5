"""Takes the adapter of one checkpoint out of a run, to keep it or carry it away: no engine is needed for that."""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.export.atomic_folder import filling
from engine.export.plan import target_of
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.runs import manifest
from engine.runs.checksums import write_checksums
from engine.runs.folder import RunFolder

# What a checkpoint holds besides, to go on training with.
STATE = ("optimizer*", "scheduler*", "scaler*", "rng_state*", "trainer_state*", "training_args*", manifest.MANIFEST)
BESIDE = ("loris.json", "chat_template*")  # what the run's adapter has and its checkpoints have not


def checkpoint_at(folder: RunFolder, step: int) -> Path | None:
    """The complete checkpoint of this step, if it is still kept."""
    return next((one.path for one in manifest.list_checkpoints(folder.checkpoints) if one.step == step), None)


def take(folder: RunFolder, step: int, typed: str = "") -> Path:
    """Copy the adapter of this step's checkpoint, with checksums. Raises `UserError`.

    `typed`: a new folder, or one that is there, below which it gets the run's name; empty: among the run's exports.
    """
    source = checkpoint_at(folder, step)
    if source is None:
        raise UserError("checkpoint_gone", say("The checkpoint of step {step} is no longer kept.", step=step))
    target = target_of("adapter", typed, folder)
    if not typed.strip() or target.parent.name == folder.name:
        target = target.with_name(f"adapter-step-{step}")
    try:
        with filling(target) as temporary:
            shutil.copytree(source, temporary, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*STATE))
            for pattern in BESIDE:
                for path in folder.adapter.glob(pattern):
                    if not (temporary / path.name).exists():
                        shutil.copy2(path, temporary)
            write_checksums(temporary, lambda *_: None)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError("not_written", say("It was not written: {reason}", reason=reason)) from error
    return target
