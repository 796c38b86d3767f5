"""Talks to a running engine over its Unix socket: several requests at once over one connection."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from engine.config.local_paths import absolute_paths, local_path
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.protocol.commands import (
    MAX_REQUEST_BYTES,
    AnyReply,
    Cancel,
    Command,
    Done,
    Export,
    Generate,
    Push,
    Refused,
    Train,
    decode_reply,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from engine.runs.folder import RunFolder

MAX_REPLY_BYTES = 16 << 20
RETRY_SECONDS = 0.1


class EngineGone(UserError):
    """No engine answers for this run: none was started, it has ended, or it died."""


class CommandRefused(UserError):
    """The engine did not carry a command out."""


class Request:
    """A request on its way. Iterate over it for the replies; the last is a `Done` or a `Refused`."""

    def __init__(self, control: Connection, number: int) -> None:
        self._control = control
        self.id = number
        self.replies: asyncio.Queue[AnyReply | None] = asyncio.Queue()  # None: the connection is gone
        self._ended = False

    def __aiter__(self) -> Request:
        return self

    async def __anext__(self) -> AnyReply:
        """The next reply. Raises `EngineGone` when the engine went away before the last one."""
        if self._ended:
            raise StopAsyncIteration
        reply = await self.replies.get()
        if reply is None:
            self._ended = True
            raise EngineGone("engine_gone", say("The engine went away before it answered."))
        self._ended = isinstance(reply, Done | Refused)
        return reply

    def cancel(self) -> None:
        """Ask the engine to stop this answer; it then ends with finish_reason cancelled."""
        if not self._ended:
            self._control.request(Cancel(id=0, target=self.id))


class Connection:
    """A connection to a run's engine. Open it with `connect`; use it from one event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._pending: dict[int, Request] = {}
        self._last_id = 0
        self._gone = False
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    @asynccontextmanager
    async def connect(cls, folder: RunFolder, patience: float = 0.0) -> AsyncIterator[Connection]:
        """Connect to the engine of a run. Raises `EngineGone` if none answers within `patience` seconds."""
        control = await cls.open(folder, patience)
        try:
            yield control
        finally:
            await control.close()

    @classmethod
    async def open(cls, folder: RunFolder, patience: float = 0.0) -> Connection:
        """As `connect`, for a connection that outlives a block: `close` it yourself."""
        give_up = time.monotonic() + patience
        while True:
            try:
                check_owner(folder.socket.parent)
                return cls(*await asyncio.open_unix_connection(folder.socket, limit=MAX_REPLY_BYTES))
            except OSError as error:
                if time.monotonic() >= give_up:
                    message = say("No engine is running for {run}.", run=folder.name)
                    raise EngineGone("engine_gone", message) from error
            await asyncio.sleep(RETRY_SECONDS)

    @property
    def gone(self) -> bool:
        """Whether the engine has closed the connection."""
        return self._gone

    def request(self, command: Command) -> Request:
        """Send a command under a number of its own (its `id` is overwritten) and return at once.

        Relative paths in it are meant from here, not from the engine's folder, and sent absolute. Raises
        `EngineGone` when the connection has ended and `CommandRefused` for one that is too long.
        """
        if self._gone or self._writer.is_closing():
            raise EngineGone("engine_gone", say("The engine has ended."))
        self._last_id += 1
        line = encode(msgspec.structs.replace(_from_here(command), id=self._last_id)) + b"\n"
        if len(line) > MAX_REQUEST_BYTES:
            raise CommandRefused("too_long", say("This text is too long to send."))
        request = self._pending[self._last_id] = Request(self, self._last_id)
        self._writer.write(line)
        return request

    async def ask(self, command: Command) -> Done:
        """Send a command and wait until it is carried out. Raises `CommandRefused` or `EngineGone`."""
        async for reply in self.request(command):
            if isinstance(reply, Refused):
                raise CommandRefused(reply.code, reply.message, field=reply.field)
            if isinstance(reply, Done):
                return reply
        raise AssertionError("a request ends with Done or Refused")

    async def close(self) -> None:
        """Hang up. What the engine was asked to do before goes on."""
        self._listener.cancel()
        with suppress(asyncio.CancelledError):
            await self._listener
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _listen(self) -> None:
        """Hand each reply to its request, so that one slow reader of answers holds up no other."""
        try:
            while line := await self._reader.readline():
                with suppress(msgspec.DecodeError):  # a newer engine's reply of a kind unknown here
                    self._deliver(decode_reply(line))
        except (OSError, ValueError):  # reset, or a line beyond every bound
            pass
        finally:
            self._gone = True
            for request in self._pending.values():
                request.replies.put_nowait(None)
            self._pending.clear()

    def _deliver(self, reply: AnyReply) -> None:
        # 0: the engine could not even read the number. Nothing older than the newest request can be meant.
        number = reply.id or max(self._pending, default=0)
        if request := self._pending.get(number):
            request.replies.put_nowait(reply)
            if isinstance(reply, Done | Refused):
                del self._pending[number]


def _from_here(command: Command) -> Command:
    """The same command with its local paths made absolute."""
    if isinstance(command, Train):
        return msgspec.structs.replace(command, spec=absolute_paths(command.spec))
    if isinstance(command, Export | Push) and command.path:
        return msgspec.structs.replace(command, path=str(local_path(command.path)))
    if isinstance(command, Generate) and command.other:
        return msgspec.structs.replace(command, other=str(local_path(command.other)))
    return command


def check_owner(folder: Path) -> None:
    """Refuse a socket folder that someone else made first: it lies in a place that all users share.

    Raises OSError.
    """
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{folder} is not a folder of this user alone")
