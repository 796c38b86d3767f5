"""The control socket's client with a fake engine."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.client.connection import CommandRefused, Connection, EngineGone, check_owner
from engine.client.launch import launch
from engine.config.run_spec import DatasetSpec, GenerationSpec, RunSpec
from engine.protocol.commands import (
    MAX_REQUEST_BYTES,
    ChatMessage,
    Done,
    Export,
    Generate,
    SaveCheckpoint,
    Shutdown,
    Stop,
    Token,
    Train,
)
from engine.runs.folder import RunFolder


def question(text: str) -> Generate:
    return Generate(id=0, messages=(ChatMessage("user", text),), adapter=True, generation=GenerationSpec())


@pytest.fixture
def process(folder: RunFolder, fake_engine: object) -> Iterator[subprocess.Popen[bytes]]:
    process = launch(folder, "wait")
    yield process
    process.kill()
    process.wait()


async def test_answer_is_streamed(folder: RunFolder, process: subprocess.Popen[bytes]):
    async with Connection.connect(folder, seconds=10) as control:
        request = control.request(question("abc"))
        replies = [reply async for reply in request]
    assert [r.text for r in replies if isinstance(r, Token)] == ["a", "b", "c"]
    assert isinstance(replies[-1], Done)
    assert {r.id for r in replies} == {request.id}
    assert [r async for r in request] == [], "no replies after the last"
    with pytest.raises(EngineGone):
        control.request(Stop(id=0))  # leaving the block closed the connection


async def test_requests_share_a_connection(folder: RunFolder, process: subprocess.Popen[bytes]):
    async def text(control: Connection, asked: str) -> str:
        return "".join([r.text async for r in control.request(question(asked)) if isinstance(r, Token)])

    async with Connection.connect(folder, seconds=10) as control:
        asked = ["first" * 5, "second", "third" * 3]
        assert await asyncio.gather(*(text(control, a) for a in asked)) == asked


async def test_cancelling_one_answer_leaves_the_other(folder: RunFolder, process: subprocess.Popen[bytes]):
    async with Connection.connect(folder, seconds=10) as control:
        endless, other = control.request(question("x" * 1000)), control.request(question("yes"))
        await anext(endless)
        endless.cancel()
        rest = [reply async for reply in endless]
        assert isinstance(rest[-1], Done)
        assert rest[-1].finish_reason == "cancelled"
        assert len(rest) < 100
        assert [r.text async for r in other if isinstance(r, Token)] == ["y", "e", "s"]


async def test_refusal_has_message_and_field(folder: RunFolder, process: subprocess.Popen[bytes]):
    async with Connection.connect(folder, seconds=10) as control:
        with pytest.raises(CommandRefused, match="No export") as caught:
            await control.ask(Export(id=0, kind="adapter"))
        assert (caught.value.code, caught.value.field) == ("nope", "x")
        assert (await control.ask(Stop(id=0))).id == 2


async def test_local_paths_are_sent_absolute(
    folder: RunFolder, process: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    async with Connection.connect(folder, seconds=10) as control:
        done = await control.ask(Train(id=0, spec=RunSpec(dataset=DatasetSpec(path="mine.json"))))
    assert done.path == str(tmp_path / "mine.json")


async def test_no_engine(folder: RunFolder):
    with pytest.raises(EngineGone, match=r"No engine is running for .*-try\."):
        await Connection.open(folder)


async def test_socket_without_an_engine(folder: RunFolder):
    folder.socket.parent.mkdir(mode=0o700, exist_ok=True)
    folder.socket.touch()
    with pytest.raises(EngineGone):
        await Connection.open(folder)
    folder.socket.unlink()


async def test_engine_that_dies_with_a_request_open(folder: RunFolder, process: subprocess.Popen[bytes]):
    async with Connection.connect(folder, seconds=10) as control:
        answer = control.request(question("x" * 1000))
        with pytest.raises(EngineGone, match="before it answered"):
            await control.ask(SaveCheckpoint(id=0))
        with pytest.raises(EngineGone):
            async for _ in answer:
                pass
        assert control.closed
        with pytest.raises(EngineGone, match="has ended"):
            control.request(Stop(id=0))


async def test_engine_that_shuts_down_answers_first(folder: RunFolder, process: subprocess.Popen[bytes]):
    async with Connection.connect(folder, seconds=10) as control:
        assert isinstance(await control.ask(Shutdown(id=0)), Done)
    assert await asyncio.to_thread(process.wait, 10) == 0


async def test_request_that_is_too_long_is_not_sent(folder: RunFolder, process: subprocess.Popen[bytes]):
    async with Connection.connect(folder, seconds=10) as control:
        with pytest.raises(CommandRefused, match="too long"):
            control.request(question("x" * MAX_REQUEST_BYTES))
        await control.ask(Stop(id=0))


async def test_request_that_is_not_utf8_is_not_sent(folder: RunFolder, process: subprocess.Popen[bytes]):
    async with Connection.connect(folder, seconds=10) as control:
        with pytest.raises(CommandRefused, match="not UTF-8"):
            control.request(Export(id=0, kind="adapter", path="/\udcd3"))
        await control.ask(Stop(id=0))


def test_socket_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ours = tmp_path / "ours"
    ours.mkdir(mode=0o700)
    check_owner(ours)
    (tmp_path / "link").symlink_to(ours)
    with pytest.raises(PermissionError):
        check_owner(tmp_path / "link")
    ours.chmod(0o777)
    with pytest.raises(PermissionError):
        check_owner(ours)
    ours.chmod(0o700)
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    with pytest.raises(PermissionError):
        check_owner(ours)
