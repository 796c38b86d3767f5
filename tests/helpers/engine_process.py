"""A real engine process, and a client for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from engine.config.run_spec import GenerationSpec, RunSpec
from engine.config.spec_files import save_spec
from engine.protocol import commands as co
from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from tests.helpers.forked_engine import Forked, fits

ROOT = Path(__file__).parents[2]
# One thread: losses are compared to the last digits, and the cores are shared with the plain script.
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
}
GREEDY = GenerationSpec(temperature=0, max_new_tokens=48)
PLANTED = "hf_" + "PlantedSecretToken" * 2  # not a real one, and unique
TIMEOUT_SECONDS = 240.0  # the cores may be busy


class Client:
    """A connection to the control socket that sends commands and receives replies."""

    def __init__(self, folder: RunFolder) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT_SECONDS)
        self.socket.connect(str(folder.socket))
        self._lines = self.socket.makefile("rb")
        self._last = 0

    def send(self, kind: type[Any], /, **fields: Any) -> int:
        self._last += 1
        self.socket.sendall(co.encode(kind(id=self._last, **fields)) + b"\n")
        return self._last

    def raw(self, line: bytes) -> co.AnyReply:
        self.socket.sendall(line)
        return self.receive()

    def receive(self) -> co.AnyReply:
        return co.decode_reply(self._lines.readline())

    def until_done(self, number: int) -> tuple[str, co.Done | co.Refused]:
        """(the text streamed, the last reply)."""
        text = ""
        while True:
            reply = self.receive()
            if reply.id != number:
                continue
            if isinstance(reply, co.Done | co.Refused):
                return text, reply
            text += reply.text if isinstance(reply, co.Token) else ""

    def ask(self, kind: type[Any], /, **fields: Any) -> co.Done | co.Refused:
        return self.until_done(self.send(kind, **fields))[1]

    def chat(
        self, question: str, *, adapter: bool, generation: GenerationSpec = GREEDY
    ) -> tuple[str, co.Done | co.Refused]:
        messages = (co.ChatMessage("user", question),)
        return self.until_done(self.send(co.Generate, messages=messages, adapter=adapter, generation=generation))

    def close(self) -> None:
        self._lines.close()
        self.socket.close()


class Engine:
    """`python -m engine` on a folder. `cold`: a new Python that imports Unsloth first, as for users."""

    def __init__(
        self, folder: Path, spec: RunSpec | None, *flags: str, cold: bool = False, **environment: str
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = RunFolder(folder)
        if spec is not None:
            save_spec(self.folder.spec, spec)
        wanted = {**ENVIRONMENT, **environment}
        arguments = [str(folder), *flags]
        self.process: subprocess.Popen[bytes] | Forked
        if not cold and fits(wanted, ENVIRONMENT):
            self.process = Forked(arguments, wanted, ENVIRONMENT, ROOT)
        else:
            module = "tests.helpers.engine_with_faults" if "LORIS_FAULT" in environment else "engine"
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env=wanted,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def events(self) -> list[ev.AnyEvent]:
        try:
            lines = self.folder.events.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [event for line in lines if (event := ev.decode(line))]

    def events_of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events() if isinstance(event, kind)]

    def wait_for(self, found: Callable[[], Any]) -> Any:
        """The first true result of `found`. Fails when the engine ends first, or after `TIMEOUT_SECONDS`."""
        until = time.monotonic() + TIMEOUT_SECONDS
        while True:
            ended = self.process.poll() is not None
            if result := found():
                return result
            if ended or time.monotonic() > until:
                log = self.folder.log.read_text() if self.folder.log.exists() else ""
                raise AssertionError(f"the engine did not get there; its log ends:\n{log[-3000:]}")
            time.sleep(0.05)

    def wait_for_stage(self, stage: ev.Stage, after: int = 0) -> None:
        self.wait_for(lambda: any(e.stage == stage for e in self.events_of(ev.StageChanged)[after:]))

    def finish(self) -> int:
        """Wait for the exit code."""
        code = self.process.wait(TIMEOUT_SECONDS)
        ended = self.events_of(ev.EngineEnded)
        assert ended, self.folder.log.read_text()[-3000:]
        assert ended[-1].exit_code == code
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def with_changes(spec: RunSpec, **sections: dict[str, Any]) -> RunSpec:
    """The spec with some fields of some sections replaced."""
    replace = msgspec.structs.replace
    return replace(spec, **{name: replace(getattr(spec, name), **fields) for name, fields in sections.items()})
