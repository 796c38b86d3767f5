"""A fake backend that exports what the export screen requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from engine.export.llama_cpp import LlamaCpp
from engine.protocol.commands import AnyReply, Command, Done, Export
from engine.runs.folder import RunFolder
from tests.helpers.fake_run import FakeBackend


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    monkeypatch.setenv("LORIS_HOME", str(tmp_path))
    (tmp_path / "run").mkdir()
    return FakeBackend(folder=RunFolder(tmp_path / "run"), answer=saves)


async def saves(command: Command) -> AsyncGenerator[AnyReply, None]:
    assert isinstance(command, Export)
    yield Done(id=1, path=command.path)


READY = LlamaCpp("ready", Path("/opt/llama.cpp"), version="b9999", types=frozenset({"q4_k_m", "q8_0", "f16"}))
