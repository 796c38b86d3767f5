"""What must hold after every fault: nothing broken is offered, nothing is lost, and the truth is told soon."""

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


def after(engine: Engine, *, failure: str | None = None, **wanted: object) -> dict[str, Any]:
    """Call right after a fault. Returns the status, once it says `wanted`, and `failure` as the failure's code."""
    seen = truth(engine.folder, failure, wanted)
    nothing_broken(engine.folder)
    nothing_lost(engine)
    return seen


def truth(folder: RunFolder, failure: str | None, wanted: dict[str, object]) -> dict[str, Any]:
    """The status, which says this within 5 s of now."""
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


def nothing_broken(folder: RunFolder) -> None:
    """Every checkpoint, adapter and export that is offered has every byte that was written, and sound numbers."""
    for one in manifest.list_checkpoints(folder.checkpoints):
        try:
            assert manifest.find_fault(one.path) == ""
            sound(one.path / "adapter_model.safetensors")
        except (AssertionError, FileNotFoundError):
            if one.path.exists():  # else a live engine has let it go meanwhile, as a whole
                raise
    if folder.adapter.exists():
        assert manifest.find_fault(folder.adapter) == ""
        sound(folder.adapter / "adapter_model.safetensors")
    for path in folder.exports.glob("[!.]*"):
        for line in (path / CHECKSUMS).read_text("utf-8").splitlines():
            digest, _, name = line.partition("  ")
            assert hashlib.sha256((path / name).read_bytes()).hexdigest() == digest, path / name


def sound(weights: Path) -> None:
    from safetensors.torch import load_file  # not before it is needed: it takes seconds

    assert all(bool(weight.isfinite().all()) for weight in load_file(weights).values()), weights


def nothing_lost(engine: Engine) -> None:
    """What the events say was finished is there still."""
    for exported in engine.of(ev.Exported):
        assert Path(exported.path).is_dir(), exported
    told = engine.of(ev.CheckpointSaved)
    if told:
        there = manifest.list_checkpoints(engine.folder.checkpoints)
        assert there[0].step >= told[-1].step, "the newest"
        measured = [one for one in told if one.eval_loss is not None]
        if measured and len(there) > 1:
            best = min(measured, key=lambda one: (one.eval_loss, -one.step))
            assert best.step in [one.step for one in there], "the best"
