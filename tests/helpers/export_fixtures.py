"""What the export tests share: an engine that serves the trained demo, and requests for exports."""

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
from tests.helpers.engine_process import ENVIRONMENT, TIMEOUT_SECONDS, Client, Engine
from tests.helpers.waiting import wait_for

__all__ = ["client", "engine", "small_disk"]  # fixtures, for a module to import


def serving(trained: list[Engine]) -> Engine:
    """The engine that serves the trained demo; a new one after a test killed it."""
    if trained[-1].process.poll() is not None:
        folder = trained[-1].folder
        again = Engine(folder.path, None, "--serve", LORIS_FAULT="hold")
        trained.append(again)
        again.wait_for_stage("serving", after=len(again.events_of(ev.StageChanged)))
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
    """A file system of 64 MB in memory, if this user can mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "loris-test", str(path)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("this user may not mount a file system")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> Path:
    """Fill a disk up to a few hundred kilobytes."""
    filler = path / "filler"
    size = shutil.disk_usage(path).free - 400_000
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return filler


@contextmanager
def hold_export(engine: Engine, step: str) -> Iterator[None]:
    """Exports inside the block wait at a step, until they are cancelled or the block ends."""
    order = engine.folder.path / "hold"
    held_file(engine).unlink(missing_ok=True)
    order.write_text(step)
    try:
        yield
    finally:
        order.unlink()


def held_file(engine: Engine) -> Path:
    """The file that exists once an export waits at its step."""
    return engine.folder.path / "held"


def forget_merged(engine: Engine) -> None:
    """Remove merged exports, from which a GGUF would be made without merging again."""
    for export in engine.events_of(ev.Exported):
        if export.kind == "merged_16bit":
            shutil.rmtree(export.path, ignore_errors=True)


def wait_for_step(client: Client, number: int, step: str) -> None:
    """Read replies until the export is at a step."""
    while True:
        reply = client.receive()
        if reply.id == number and isinstance(reply, co.ExportProgress) and reply.step == step:
            return
        assert not isinstance(reply, co.Done | co.Refused), (step, reply)


def final_reply(client: Client, number: int) -> co.Done | co.Refused:
    while True:
        reply = client.receive()
        if reply.id == number and isinstance(reply, co.Done | co.Refused):
            return reply


def refused(reply: co.Done | co.Refused, code: str) -> co.Refused:
    """The reply, which must be a refusal with this code."""
    assert isinstance(reply, co.Refused), reply
    assert reply.code == code, reply
    return reply


def exported_folder(reply: co.Done | co.Refused) -> Path:
    """The folder of a successful export, after its checksums were verified."""
    assert isinstance(reply, co.Done), reply
    subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=reply.path, check=True, capture_output=True
    )
    return Path(reply.path)


def export(client: Client, **fields: Any) -> co.Done | co.Refused:
    return final_reply(client, client.send(co.Export, **fields))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process. Fails after half a minute."""
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 30, f"process {pid} goes on")


def run_without_unsloth(script: str, *arguments: str) -> list[str]:
    """The answers from a new interpreter without Unsloth."""
    path = Path(__file__).parent / "scripts" / script
    output = subprocess.run(
        [sys.executable, str(path), *arguments],
        env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS,
    ).stdout  # fmt: skip
    answers: list[str] = json.loads(output.strip().splitlines()[-1])
    return answers
