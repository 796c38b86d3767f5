"""What must hold after every fault: no incomplete file is offered, nothing is lost, the status is correct soon."""

from __future__ import annotations

import hashlib
import io
import json
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from engine.protocol import events as ev
from engine.runs import manifest
from engine.runs.checksums import CHECKSUMS
from engine.runs.folder import RunFolder
from tests.helpers.engine_process import Engine
from tui.cli.main import main

TRUTH_SECONDS = 5.0


def status(folder: RunFolder) -> dict[str, Any]:
    """What `loris status RUN --json` prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main(["status", str(folder.path), "--json"]) == 0
    found: dict[str, Any] = json.loads(printed.getvalue())
    return found


def check_after_fault(engine: Engine, *, failure: str | None = None, **wanted: object) -> dict[str, Any]:
    """Call right after a fault. Returns the status, once it has `wanted` and the failure code `failure`."""
    seen = check_status(engine.folder, failure, wanted)
    check_files(engine.folder)
    check_nothing_lost(engine)
    return seen


def check_status(folder: RunFolder, failure: str | None, wanted: dict[str, object]) -> dict[str, Any]:
    """The status, which must have these values within 5 s."""
    began = time.monotonic()
    while True:
        seen = status(folder)
        seconds = time.monotonic() - began
        found = {name: seen[name] for name in wanted}
        code = seen["failure"]["code"] if seen["failure"] else None
        if (found, code) == (wanted, failure):
            assert seconds < TRUTH_SECONDS
            return seen
        assert seconds < TRUTH_SECONDS, f"{seconds:.1f} s later the status says {found} and {code}"
        time.sleep(0.05)


def check_files(folder: RunFolder) -> None:
    """Every checkpoint, adapter and export that is offered has every byte that was written, and sound numbers."""
    for one in manifest.list_checkpoints(folder.checkpoints):
        try:
            assert manifest.find_fault(one.path) == ""
            check_weights(one.path / "adapter_model.safetensors")
        except (AssertionError, FileNotFoundError):
            if one.path.exists():  # else a live engine has deleted it meanwhile
                raise
    if folder.adapter.exists():
        assert manifest.find_fault(folder.adapter) == ""
        check_weights(folder.adapter / "adapter_model.safetensors")
    for path in folder.exports.glob("[!.]*"):
        for line in (path / CHECKSUMS).read_text("utf-8").splitlines():
            digest, _, name = line.partition("  ")
            assert hashlib.sha256((path / name).read_bytes()).hexdigest() == digest, path / name


def check_weights(weights: Path) -> None:
    from safetensors.torch import load_file  # a slow import

    assert all(bool(weight.isfinite().all()) for weight in load_file(weights).values()), weights


def check_nothing_lost(engine: Engine) -> None:
    """Everything that the events report as finished still exists."""
    for exported in engine.events_of(ev.Exported):
        assert Path(exported.path).is_dir(), exported
    told = engine.events_of(ev.CheckpointSaved)
    if told:
        there = manifest.list_checkpoints(engine.folder.checkpoints)
        assert there[0].step >= told[-1].step, "the newest"
        measured = [one for one in told if one.eval_loss is not None]
        if measured and len(there) > 1:
            best = min(measured, key=lambda one: (one.eval_loss, -one.step))
            assert best.step in [one.step for one in there], "the best"
