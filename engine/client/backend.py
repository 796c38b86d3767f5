"""Access to the processes, files and sockets of engines. Tests of the screens pass a fake."""

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
from engine.client.stop import OnPhase, stop
from engine.config.change import Change
from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError
from engine.protocol.commands import AnyReply, Command, Generate, Shutdown, StopMode, TryRewards
from engine.protocol.events import AnyEvent
from engine.runs import lock_owner, manifest
from engine.runs.folder import RunFolder
from engine.runs.lock_owner import SavedWork
from engine.runs.run_list import delete_run, is_alive

POLL_SECONDS = 0.1
CONNECT_SECONDS = 1.0  # for a running engine to answer
END_SECONDS = 5.0  # for an engine to exit before it is killed


async def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether `condition` became true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


class EventSource(Protocol):
    @property
    def has_more(self) -> bool:
        """Whether more events can be read at once."""

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
    async def stop(self, folder: RunFolder, mode: StopMode, on_phase: OnPhase) -> SavedWork: ...
    async def kill(self, folder: RunFolder) -> SavedWork: ...


class RealBackend:
    """Engines as separate processes. `ends_with_caller`: see `launch`."""

    def __init__(self, ends_with_caller: bool = False) -> None:
        self._ends_with_caller = ends_with_caller
        self._processes: dict[RunFolder, subprocess.Popen[bytes]] = {}  # the engines that were started here
        self._control: Connection | None = None
        self._control_of: RunFolder | None = None
        self._connecting = asyncio.Lock()

    def new_run(self, spec: RunSpec) -> RunFolder:
        return new_run(spec)

    def launch(self, folder: RunFolder, mode: Mode) -> None:
        self._processes[folder] = launch(folder, mode, ends_with_caller=self._ends_with_caller)

    def events(self, folder: RunFolder) -> EventSource:
        return Follower(folder)

    def log(self, folder: RunFolder) -> LogSource:
        return LogFollower(folder)

    def is_alive(self, folder: RunFolder) -> bool:
        return is_alive(folder)

    def is_gone(self, folder: RunFolder) -> bool:
        """Whether no process started here is, or can still become, the engine of this run."""
        process = self._processes.get(folder)
        return process is None or process.poll() is not None

    async def end(self, folder: RunFolder, seconds: float = END_SECONDS) -> None:
        """End an engine that has nothing to save. One that was started here is killed if it does not exit."""
        process = self._processes.get(folder)
        if self.is_alive(folder) or not self.is_gone(folder):
            try:
                async with asyncio.timeout(END_SECONDS):
                    await (await self.connection(folder)).ask(Shutdown(id=0))
            except (UserError, OSError, TimeoutError):
                if process:
                    process.terminate()  # it does not listen yet
        ended = await wait_until(lambda: not self.is_alive(folder) and self.is_gone(folder), seconds)
        if process and not ended:
            process.kill()
            await asyncio.to_thread(process.wait)
        self._processes.pop(folder, None)

    async def abandon(self, folder: RunFolder) -> None:
        """End an engine that has nothing to save, and delete its folder. Takes a few seconds at most."""
        await self.end(folder)
        with suppress(UserError, OSError):
            await asyncio.to_thread(delete_run, folder)

    async def close(self, seconds: float) -> None:
        """End the engines that were started here, and close the connection."""
        try:
            for folder in tuple(self._processes):
                await self.end(folder, seconds)
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
            # Nobody reads the rest of an answer. Training and exports continue.
            if isinstance(command, Generate | TryRewards):
                with suppress(UserError):
                    request.cancel()

    def is_frozen(self, folder: RunFolder) -> bool:
        return lock_owner.is_frozen(folder)

    def checkpoint(self, folder: RunFolder) -> int | None:
        """The step of the newest complete checkpoint."""
        kept = manifest.list_checkpoints(folder.checkpoints)
        return kept[0].step if kept else None

    def resume(self, folder: RunFolder, changes: tuple[Change, ...]) -> RunSpec:
        spec, self._processes[folder] = resume(folder, changes, self.checkpoint(folder) or 0)
        return spec

    async def stop(self, folder: RunFolder, mode: StopMode, on_phase: OnPhase) -> SavedWork:
        return await stop(folder, mode, on_phase)

    async def kill(self, folder: RunFolder) -> SavedWork:
        return await asyncio.to_thread(lock_owner.terminate, folder)

    async def connection(self, folder: RunFolder) -> Connection:
        """The only connection, to this run's engine. It stays open, so that the engine does not count as idle."""
        async with self._connecting:
            control = self._control
            if control is None or control.closed or self._control_of != folder:
                if control is not None:
                    await control.close()
                    self._control = None
                control = await Connection.open(folder, CONNECT_SECONDS)
                self._control, self._control_of = control, folder
            return control
