"""What a client needs of the world: processes, files and sockets of engines. Tests of the screens pass a fake."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Protocol

from engine.client.connection import Connection
from engine.client.follow import Follower, LogFollower
from engine.client.launch import Mode, launch, new_run
from engine.client.resume import resume
from engine.client.stop import Tell, stop
from engine.config.change import Change
from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError
from engine.protocol.commands import AnyReply, Command, Generate, Shutdown, StopMode
from engine.protocol.events import AnyEvent
from engine.runs import lock_owner, manifest
from engine.runs.folder import RunFolder
from engine.runs.lock_owner import Survived
from engine.runs.run_list import discard, is_alive

POLL_SECONDS = 0.1
CONNECT_PATIENCE = 1.0  # seconds for an engine that lives to answer
END_PATIENCE = 5.0  # seconds for an engine to end before it is killed


async def wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    """Whether something came to be so within this time."""
    give_up = time.monotonic() + seconds
    while not holds():
        if time.monotonic() >= give_up:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


class EventSource(Protocol):
    @property
    def behind(self) -> bool:
        """Whether more is there to be read at once."""

    def poll(self) -> list[AnyEvent]: ...


class LogSource(Protocol):
    @property
    def partial(self) -> str:
        """The line being written, such as a progress bar."""

    def poll(self) -> list[str]: ...


class Backend(Protocol):
    """`RealBackend` in the product."""

    def new_run(self, spec: RunSpec) -> RunFolder: ...
    def launch(self, folder: RunFolder, mode: Mode) -> None: ...
    def events(self, folder: RunFolder) -> EventSource: ...
    def log(self, folder: RunFolder) -> LogSource: ...
    def is_alive(self, folder: RunFolder) -> bool: ...
    def is_gone(self, folder: RunFolder) -> bool: ...
    async def abandon(self, folder: RunFolder) -> None: ...
    def ask(self, folder: RunFolder, command: Command) -> AsyncGenerator[AnyReply, None]: ...
    def is_frozen(self, folder: RunFolder) -> bool: ...
    def checkpoint(self, folder: RunFolder) -> int | None: ...
    def resume(self, folder: RunFolder, changes: tuple[Change, ...]) -> RunSpec: ...
    async def stop(self, folder: RunFolder, mode: StopMode, tell: Tell) -> Survived: ...
    async def force(self, folder: RunFolder) -> Survived: ...


class RealBackend:
    """Engines as processes of their own."""

    def __init__(self) -> None:
        self._processes: dict[RunFolder, subprocess.Popen[bytes]] = {}  # the engines that were started here
        self._control: Connection | None = None
        self._control_of: RunFolder | None = None
        self._connecting = asyncio.Lock()

    def new_run(self, spec: RunSpec) -> RunFolder:
        return new_run(spec)

    def launch(self, folder: RunFolder, mode: Mode) -> None:
        self._processes[folder] = launch(folder, mode)

    def events(self, folder: RunFolder) -> EventSource:
        return Follower(folder)

    def log(self, folder: RunFolder) -> LogSource:
        return LogFollower(folder)

    def is_alive(self, folder: RunFolder) -> bool:
        return is_alive(folder)

    def is_gone(self, folder: RunFolder) -> bool:
        """Whether no process that was started here can become, or still is, the engine of this run."""
        process = self._processes.get(folder)
        return process is None or process.poll() is not None

    async def end(self, folder: RunFolder, patience: float = END_PATIENCE) -> None:
        """End an engine that has nothing to lose. One that was started here is killed if it does not go."""
        process = self._processes.get(folder)
        if self.is_alive(folder) or not self.is_gone(folder):
            try:
                async with asyncio.timeout(END_PATIENCE):
                    await (await self.connection(folder)).ask(Shutdown(id=0))
            except (UserError, OSError, TimeoutError):
                if process:
                    process.terminate()  # too young to listen
        ended = await wait_until(lambda: not self.is_alive(folder) and self.is_gone(folder), patience)
        if process and not ended:
            process.kill()
            await asyncio.to_thread(process.wait)
        self._processes.pop(folder, None)

    async def abandon(self, folder: RunFolder) -> None:
        """End an engine that has nothing to lose, and delete its folder. Takes a few seconds at worst."""
        await self.end(folder)
        with suppress(UserError, OSError):
            await asyncio.to_thread(discard, folder)

    async def close(self, patience: float) -> None:
        """End the engines that were started here, and hang up."""
        try:
            for folder in tuple(self._processes):
                await self.end(folder, patience)
        finally:
            if self._control is not None:
                await self._control.close()

    async def ask(self, folder: RunFolder, command: Command) -> AsyncGenerator[AnyReply, None]:
        control = await self.connection(folder)
        request = control.request(command)
        try:
            async for reply in request:
                yield reply
        finally:
            # Nobody waits for the rest of an answer. What saves or trains goes on all the same.
            if isinstance(command, Generate):
                with suppress(UserError):
                    request.cancel()

    def is_frozen(self, folder: RunFolder) -> bool:
        return lock_owner.is_frozen(folder)

    def checkpoint(self, folder: RunFolder) -> int | None:
        """The step of the newest complete checkpoint."""
        kept = manifest.checkpoints(folder.checkpoints)
        return kept[0].step if kept else None

    def resume(self, folder: RunFolder, changes: tuple[Change, ...]) -> RunSpec:
        spec, self._processes[folder] = resume(folder, changes, self.checkpoint(folder) or 0)
        return spec

    async def stop(self, folder: RunFolder, mode: StopMode, tell: Tell) -> Survived:
        return await stop(folder, mode, tell)

    async def force(self, folder: RunFolder) -> Survived:
        return await asyncio.to_thread(lock_owner.end, folder)

    async def connection(self, folder: RunFolder) -> Connection:
        """The one connection, to this run's engine. It stays open, so that the engine knows it is looked at."""
        async with self._connecting:
            control = self._control
            if control is None or control.gone or self._control_of != folder:
                if control is not None:
                    await control.close()
                    self._control = None
                control = await Connection.open(folder, CONNECT_PATIENCE)
                self._control, self._control_of = control, folder
            return control
