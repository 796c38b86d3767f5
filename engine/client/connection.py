"""Sends requests to a running engine over its Unix socket: several at once over one connection."""

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
    TryRewards,
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
    """No engine answers for this run: none was started, it has exited, or it died."""


class CommandRefused(UserError):
    """The engine refused a command."""


class Request:
    """A request that was sent. Iterate over it for the replies; the last is a `Done` or a `Refused`."""

    def __init__(self, control: Connection, number: int) -> None:
        self._control = control
        self.id = number
        self.replies: asyncio.Queue[AnyReply | None] = asyncio.Queue()  # None: the connection is closed
        self._ended = False

    def __aiter__(self) -> Request:
        return self

    async def __anext__(self) -> AnyReply:
        """The next reply. Raises `EngineGone` when the connection closed before the last one."""
        if self._ended:
            raise StopAsyncIteration
        reply = await self.replies.get()
        if reply is None:
            self._ended = True
            raise EngineGone("engine_gone", say("The engine ended before it answered."))
        self._ended = isinstance(reply, Done | Refused)
        return reply

    def cancel(self) -> None:
        """Ask the engine to cancel this answer; it then ends with finish_reason cancelled."""
        if not self._ended:
            self._control.request(Cancel(id=0, target=self.id))


class Connection:
    """A connection to a run's engine. Open it with `connect`; use it from one event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._pending: dict[int, Request] = {}
        self._last_id = 0
        self._closed = False
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    @asynccontextmanager
    async def connect(cls, folder: RunFolder, seconds: float = 0.0) -> AsyncIterator[Connection]:
        """Connect to the engine of a run. Raises `EngineGone` if none answers within `seconds`."""
        control = await cls.open(folder, seconds)
        try:
            yield control
        finally:
            await control.close()

    @classmethod
    async def open(cls, folder: RunFolder, seconds: float = 0.0) -> Connection:
        """As `connect`, for a connection that outlives a block: `close` it yourself."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                check_owner(folder.socket.parent)
                return cls(*await asyncio.open_unix_connection(folder.socket, limit=MAX_REPLY_BYTES))
            except OSError as error:
                if time.monotonic() >= deadline:
                    message = say("No engine is running for {run}.", run=folder.name)
                    raise EngineGone("engine_gone", message) from error
            await asyncio.sleep(RETRY_SECONDS)

    @property
    def closed(self) -> bool:
        """Whether the engine closed the connection."""
        return self._closed

    def request(self, command: Command) -> Request:
        """Send a command with a new `id` and return at once.

        Relative paths are relative to our working directory, not the engine's, and sent as absolute. Raises
        `EngineGone` when the connection is closed and `CommandRefused` for a command that is too long or not UTF-8.
        """
        if self._closed or self._writer.is_closing():
            raise EngineGone("engine_gone", say("The engine has ended."))
        self._last_id += 1
        try:
            line = encode(msgspec.structs.replace(_with_absolute_paths(command), id=self._last_id)) + b"\n"
        except UnicodeEncodeError:
            message = say("This request contains a path or text that is not UTF-8.")
            raise CommandRefused("not_utf8", message) from None
        if len(line) > MAX_REQUEST_BYTES:
            raise CommandRefused("too_long", say("This text is too long to send."))
        request = self._pending[self._last_id] = Request(self, self._last_id)
        self._writer.write(line)
        return request

    async def ask(self, command: Command) -> Done:
        """Send a command and wait until it is done. Raises `CommandRefused` or `EngineGone`."""
        async for reply in self.request(command):
            if isinstance(reply, Refused):
                raise CommandRefused(reply.code, reply.message, field=reply.field)
            if isinstance(reply, Done):
                return reply
        raise AssertionError("a request ends with Done or Refused")

    async def close(self) -> None:
        """Close the connection. The engine continues what it was asked to do."""
        self._listener.cancel()
        with suppress(asyncio.CancelledError):
            await self._listener
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _listen(self) -> None:
        """Pass each reply to its request, so that a slow reader does not block the others."""
        try:
            while line := await self._reader.readline():
                with suppress(msgspec.DecodeError):  # a newer engine's reply of an unknown type
                    self._deliver(decode_reply(line))
        except (OSError, ValueError):  # reset, or a line that is too long
            pass
        finally:
            self._closed = True
            for request in self._pending.values():
                request.replies.put_nowait(None)
            self._pending.clear()

    def _deliver(self, reply: AnyReply) -> None:
        # 0: the engine could not read the id. It can only mean the newest request.
        number = reply.id or max(self._pending, default=0)
        if request := self._pending.get(number):
            request.replies.put_nowait(reply)
            if isinstance(reply, Done | Refused):
                del self._pending[number]


def _with_absolute_paths(command: Command) -> Command:
    """The same command with its local paths made absolute."""
    if isinstance(command, Train | TryRewards):
        return msgspec.structs.replace(command, spec=absolute_paths(command.spec))
    if isinstance(command, Export | Push) and command.path:
        return msgspec.structs.replace(command, path=str(local_path(command.path)))
    if isinstance(command, Generate) and command.other:
        return msgspec.structs.replace(command, other=str(local_path(command.other)))
    return command


def check_owner(folder: Path) -> None:
    """Reject a socket folder that another user made: its parent folder is shared by all users.

    Raises OSError.
    """
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{folder} is not a folder of this user alone")
