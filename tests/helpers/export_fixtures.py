"""What the tests of saving share: the demo as one engine trained it, and ways to ask for an export."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.protocol import commands as co
from engine.protocol import events as ev
from tests.helpers.engine_process import ENVIRONMENT, PATIENCE, Client, Engine
from tests.helpers.waiting import wait_for

__all__ = ["client", "engine", "small_disk"]  # fixtures, for a module to import


def serving(trained: list[Engine]) -> Engine:
    """The engine that serves the trained demo: another one, when a test killed the last."""
    if trained[-1].process.poll() is not None:
        folder = trained[-1].folder
        again = Engine(folder.path, None, "--serve", LORIS_FAULT="hold")
        trained.append(again)
        again.wait_for_stage("serving", after=len(again.of(ev.StageChanged)))
    return trained[-1]


@pytest.fixture
def engine(trained: list[Engine]) -> Engine:
    return serving(trained)


@pytest.fixture
def client(engine: Engine) -> Iterator[Client]:
    client = Client(engine.folder)
    yield client
    client.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB in memory, where this user may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "loris-test", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("this user may not mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leave no room on a disk but for a few hundred kilobytes."""
    filler = place / "filler"
    size = shutil.disk_usage(place).free - 400_000
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return filler


@contextmanager
def held(engine: Engine, step: str) -> Iterator[None]:
    """Exports of the block stay at a step, until they are given up or the block ends."""
    order = engine.folder.path / "hold"
    reached(engine).unlink(missing_ok=True)
    order.write_text(step)
    try:
        yield
    finally:
        order.unlink()


def reached(engine: Engine) -> Path:
    """There once an export stays at the step where it shall."""
    return engine.folder.path / "held"


def forget_merged(engine: Engine) -> None:
    """Remove what a GGUF would be made of instead of merging again."""
    for export in engine.of(ev.Exported):
        if export.kind == "merged_16bit":
            shutil.rmtree(export.path, ignore_errors=True)


def until(client: Client, number: int, step: str) -> None:
    """Read replies until the export is at a step."""
    while True:
        reply = client.receive()
        if reply.id == number and isinstance(reply, co.ExportProgress) and reply.step == step:
            return
        assert not isinstance(reply, co.Done | co.Refused), (step, reply)


def ending(client: Client, number: int) -> co.Done | co.Refused:
    while True:
        reply = client.receive()
        if reply.id == number and isinstance(reply, co.Done | co.Refused):
            return reply


def refused(reply: co.Done | co.Refused, code: str) -> co.Refused:
    """The reply, which refuses for this reason."""
    assert isinstance(reply, co.Refused), reply
    assert reply.code == code, reply
    return reply


def saved(reply: co.Done | co.Refused) -> Path:
    """Where an export went that was carried out: whole, by the checksums that came with it."""
    assert isinstance(reply, co.Done), reply
    subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=reply.path, check=True, capture_output=True
    )
    return Path(reply.path)


def export(client: Client, **fields: Any) -> co.Done | co.Refused:
    return ending(client, client.send(co.Export, **fields))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def wait_until_gone(pid: int) -> None:
    """Return once a process has ended. Fails when it goes on for half a minute."""
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 30, f"process {pid} goes on")


def plainly(script: str, *arguments: str) -> list[str]:
    """The answers of a fresh interpreter without Unsloth."""
    path = Path(__file__).parent / "scripts" / script
    output = subprocess.run(
        [sys.executable, str(path), *arguments],
        env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=PATIENCE,
    ).stdout  # fmt: skip
    answers: list[str] = json.loads(output.strip().splitlines()[-1])
    return answers
