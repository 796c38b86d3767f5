"""Runs on disk for the Home screen."""

from __future__ import annotations

import os

import msgspec

from engine.client.launch import new_run
from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from tests.helpers import fake_run
from tests.helpers.fake_run import START


def made(name: str, events: list[ev.AnyEvent], start: float = START, **training: object) -> RunFolder:
    """Write a run of this name; its events are a second apart."""
    spec: RunSpec = msgspec.structs.replace(
        fake_run.SPEC, name=name, training=msgspec.structs.replace(fake_run.SPEC.training, **training)
    )
    folder = new_run(spec)
    path = folder.path.with_name(f"2026-09-21-1400-{name}")
    folder.path.rename(path)
    folder = RunFolder(path)
    save_spec(folder.spec, spec)
    timed = [msgspec.structs.replace(e, time=start + n, elapsed=float(n)) for n, e in enumerate(events)]
    folder.events.write_bytes(b"".join(map(ev.encode, timed)))
    os.utime(folder.spec, (start, start))
    return folder


def slower(events: list[ev.AnyEvent]) -> list[ev.AnyEvent]:
    """The same events with a loss that falls more slowly."""
    return [
        msgspec.structs.replace(e, loss=round(1.4 + (e.loss or 0) * 0.6, 4)) if isinstance(e, ev.Step) else e
        for e in events
    ]
