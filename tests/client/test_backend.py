"""`RealBackend` on a real socket: one connection for all requests, and answers that nobody reads are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from engine.client.backend import RealBackend
from engine.client.connection import EngineGone
from engine.config.run_spec import GenerationSpec
from engine.protocol.commands import (
    AnyCommand,
    Cancel,
    ChatMessage,
    Done,
    Generate,
    Stop,
    Token,
    decode_command,
    encode,
)
from engine.runs.folder import RunFolder

QUESTION = Generate(id=0, messages=(ChatMessage("user", "hi"),), adapter=False, generation=GenerationSpec())


class Engine:
    """The server side of the socket: streams until it is cancelled."""

    def __init__(self) -> None:
        self.received: list[AnyCommand] = []
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        streams: dict[int, asyncio.Task[None]] = {}
        while line := await reader.readline():
            command = decode_command(line)
            self.received.append(command)
            match command:
                case Generate():
                    streams[command.id] = asyncio.create_task(self._stream(command.id, writer))
                case Cancel():
                    streams[command.target].cancel()
                    writer.write(encode(Done(id=command.target, finish_reason="cancelled")) + b"\n")
                    writer.write(encode(Done(id=command.id)) + b"\n")
                case _:
                    writer.write(encode(Done(id=command.id)) + b"\n")
        writer.close()

    async def _stream(self, number: int, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(encode(Token(id=number, text="x")) + b"\n")
            await asyncio.sleep(0.01)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = RunFolder(tmp_path / "run")
    folder.socket.parent.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture
async def engine(folder: RunFolder) -> AsyncIterator[Engine]:
    engine = Engine()
    server = await asyncio.start_unix_server(engine.serve, folder.socket)
    yield engine
    server.close()


async def received(engine: Engine, count: int) -> list[AnyCommand]:
    for _ in range(200):
        if len(engine.received) >= count:
            return engine.received
        await asyncio.sleep(0.01)
    raise AssertionError(engine.received)


async def test_requests_share_one_connection(folder: RunFolder, engine: Engine) -> None:
    backend = RealBackend()
    for _ in range(3):
        assert [type(reply) async for reply in backend.ask(folder, Stop(id=0))] == [Done]
    assert engine.connections == 1
    assert [command.id for command in engine.received] == [1, 2, 3]


async def test_closing_an_answer_early_cancels_it_and_keeps_the_connection(
    folder: RunFolder, engine: Engine
) -> None:
    backend = RealBackend()
    async with aclosing(backend.ask(folder, QUESTION)) as replies:
        async for reply in replies:
            assert isinstance(reply, Token)
            break
    assert (await received(engine, 2))[1] == Cancel(id=2, target=1)
    assert [type(reply) async for reply in backend.ask(folder, Stop(id=0))] == [Done]
    assert engine.connections == 1


async def test_cancelled_task_cancels_the_answer(folder: RunFolder, engine: Engine) -> None:
    backend = RealBackend()

    async def read() -> None:
        async with aclosing(backend.ask(folder, QUESTION)) as replies:
            async for _reply in replies:
                pass

    task = asyncio.create_task(read())
    await received(engine, 1)
    await asyncio.sleep(0.05)
    task.cancel()
    assert isinstance((await received(engine, 2))[1], Cancel)


async def test_disconnect_raises_and_the_next_request_reconnects(folder: RunFolder, engine: Engine) -> None:
    backend = RealBackend()

    async def read() -> None:
        async for _reply in backend.ask(folder, QUESTION):
            engine.writers[0].transport.abort()

    with pytest.raises(EngineGone):
        await read()
    assert [type(reply) async for reply in backend.ask(folder, Stop(id=0))] == [Done]
    assert engine.connections == 2


async def test_no_engine_raises_soon(folder: RunFolder) -> None:
    with pytest.raises(EngineGone):
        await anext(RealBackend().ask(folder, QUESTION))
