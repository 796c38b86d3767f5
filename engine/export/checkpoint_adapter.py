"""Exports the adapter, or the whole model, of one checkpoint of a run. Needs no engine."""

import shutil
from pathlib import Path

from engine.export.atomic_folder import atomic_folder
from engine.export.plan import target_of
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.protocol.events import ExportKind
from engine.runs import manifest
from engine.runs.checksums import FORMAT_FILE
from engine.runs.folder import RunFolder
from engine.runs.own_files import copy_own

# What a checkpoint also contains, to resume training.
STATE = ("optimizer*", "scheduler*", "scaler*", "rng_state*", "trainer_state*", "training_args*", manifest.MANIFEST)
FROM_RESULT = (FORMAT_FILE, "chat_template*", "tokenizer.model")  # in the run's result, not in its checkpoints


def checkpoint_at(folder: RunFolder, step: int) -> Path | None:
    """The complete checkpoint of this step, if it is still kept."""
    return next((one.path for one in manifest.list_checkpoints(folder.checkpoints) if one.step == step), None)


def export_checkpoint_adapter(folder: RunFolder, step: int, typed: str = "") -> Path:
    """Copy the adapter, or model, of this step's checkpoint, with checksums. Raises `UserError`.

    `typed`: a new folder, or an existing one, in which it gets the run's name; empty: among the run's exports.
    """
    source = checkpoint_at(folder, step)
    if source is None:
        raise UserError("checkpoint_gone", say("The checkpoint of step {step} is no longer kept.", step=step))
    manifest.require_intact(source)
    kind: ExportKind = "adapter" if (source / "adapter_config.json").exists() else "model"
    target = target_of(kind, typed, folder)
    if not typed.strip() or target.parent.name == folder.name:
        target = target.with_name(f"{kind}-step-{step}")
    try:
        with atomic_folder(target) as temporary:
            copy_own(source, temporary, leave_out=STATE)
            for pattern in FROM_RESULT:
                for path in folder.result.glob(pattern):
                    if not (temporary / path.name).exists():
                        shutil.copy2(path, temporary)
            manifest.seal_export(temporary)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError("not_written", say("It was not written: {reason}", reason=reason)) from error
    return target
