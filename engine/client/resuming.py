"""Takes a run up again from its newest whole checkpoint, with the settings that may change on the way."""

from __future__ import annotations

import subprocess

from engine.client.launch import launch
from engine.preflight.places import absolute_paths
from engine.spec import complete
from engine.spec.errors import SpecError
from engine.spec.files import load_spec, save_spec
from engine.spec.folder import RunFolder
from engine.spec.resume import refusals
from engine.spec.run import RunSpec


def resume(folder: RunFolder, spec: RunSpec | None = None, exit_when_done: bool = False) -> subprocess.Popen[bytes]:
    """Start an engine that goes on where the run was; without a checkpoint, from the start.

    `spec`: other settings to go on with. Raises `SpecError` naming each that may not change, and OSError.
    """
    if spec is not None:
        spec = absolute_paths(spec)
        kept = complete.newest(folder.checkpoints)
        trained = kept.path / "spec.yaml" if kept else folder.spec
        if kept and (errors := refusals(absolute_paths(load_spec(trained)), spec, kept.step)):
            raise SpecError(None, errors)
        save_spec(folder.spec, spec)
    return launch(folder, "resume", exit_when_done)
