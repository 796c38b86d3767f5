"""One engine to chat with, for the length of a `with` block: the run's own, or one started for it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from engine.client.connection import Connection
from engine.client.follow import Follower
from engine.client.launch import launch, new_run
from engine.config.paths import runs_folder
from engine.config.run_spec import ModelSpec, RunSpec
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.protocol.commands import Shutdown
from engine.protocol.state import RunState
from engine.runs.folder import RunFolder
from engine.runs.run_list import discard, is_alive

POLL_SECONDS = 0.1
CONNECT_PATIENCE = 5.0
END_SECONDS = 10.0


class Conversation:
    """`has_adapter`: whether something trained can answer, once it was opened."""

    def __init__(self, target: str) -> None:
        """`target`: the name or folder of a run, or an adapter's or a model's folder. Raises `UserError`."""
        self._run, self._model = find(target)
        self.folder = self._run
        self.state = RunState()
        self._process: subprocess.Popen[bytes] | None = None
        self.control: Connection | None = None

    @property
    def has_adapter(self) -> bool:
        return self._run is not None or bool(self.state.model and self.state.model.has_adapter)

    async def open(self, tell: Callable[[RunState], None] = lambda state: None) -> Connection:
        """Connect; an engine that does not run is started first. Raises `UserError`, OSError or `SpecError`."""
        if self._run is None:
            self.folder = new_run(RunSpec(name="chat", model=ModelSpec(model_name=str(self._model))))
            self._process = launch(self.folder, "wait")
        elif not is_alive(self._run):
            self._process = launch(self._run, "serve")
        assert self.folder is not None
        self._wait(self.folder, tell)
        self.control = await Connection.open(self.folder, CONNECT_PATIENCE)
        return self.control

    def _wait(self, folder: RunFolder, tell: Callable[[RunState], None]) -> None:
        events, told = Follower(folder), False
        pid = self._process.pid if self._process else 0
        while True:
            gone = self._process is not None and self._process.poll() is not None
            for event in events.poll():
                self.state.apply(event)
            started = self.state.started
            # Until the new engine speaks, what is read is of the one before.
            ours = started is not None and (not pid or started.pid == pid)
            if not events.behind and ours:
                if self.state.failed:
                    raise UserError(self.state.failed.code, self.state.failed.message, self.state.failed.hint)
                if self.state.ended is None and self.state.stage not in ("starting", "loading"):
                    return
            if gone and not events.behind:
                raise UserError(
                    "engine_gone", say("The engine did not start. Its log says why: {path}", path=str(folder.log))
                )
            if not told:
                told = True
                tell(self.state)
            if not events.behind:
                time.sleep(POLL_SECONDS)

    async def close(self) -> None:
        """Hang up, and end the engine that was started for this. What was made for it is removed."""
        if self._process is not None:
            with suppress(UserError, OSError):
                if self.control is None and self.folder is not None:
                    self.control = await Connection.open(self.folder)
                if self.control is not None:
                    await self.control.ask(Shutdown(id=0))
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self.control is not None:
            await self.control.close()
        if self._run is None and self.folder is not None:
            with suppress(UserError, OSError):
                discard(self.folder)


def find(target: str) -> tuple[RunFolder | None, Path | None]:
    """(the run, None) or (None, the folder of an adapter or model). Raises `UserError`."""
    typed = Path(os.path.expanduser(target))
    for path in (typed, runs_folder() / target):
        if (path / "spec.yaml").is_file():
            run = RunFolder(Path(os.path.realpath(path)))
            if not (run.adapter / "adapter_config.json").is_file():
                message = say("The run {run} has no trained adapter.", run=run.name)
                raise UserError("not_trained", message, say("Train it first: loris run SPEC.yaml"), "run")
            return run, None
    if any((typed / name).is_file() for name in ("adapter_config.json", "config.json")):
        return None, typed.absolute()
    raise UserError(
        "no_such_run",
        say('"{target}" is neither a run nor the folder of an adapter or model.', target=target),
        say("A run's name is its folder's, below {folder}.", folder=str(runs_folder())),
        "run",
    )
