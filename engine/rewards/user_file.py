"""The user's file of reward functions: allowed once, copied to the run folder, and run in a process of its own."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.config.local_paths import local_path
from engine.config.methods.grpo import GrpoSpec
from engine.config.reward_file import FIELD, functions_in, read_reward_file
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.rewards.reward import AnswerSample
from engine.rewards.worker import Call, Start, WorkerReply
from engine.runs.consent import are_rewards_allowed
from engine.runs.folder import RunFolder
from engine.runs.python_process import environment, python
from engine.runtime.ranks import is_main_process

IMPORT_SECONDS = 60.0  # for what the file imports, besides its own time limit


class UserFile:
    """`functions`: the names of its reward functions, in order."""

    def __init__(self, spec: GrpoSpec, folder: Path) -> None:
        """Raises `UserError` if the file is missing, is not allowed, or has no function."""
        self._path, self._timeout = local_path(spec.rewards_file), spec.rewards_timeout
        copy = RunFolder(folder).rewards
        # A resumed run whose file was moved has its copy.
        self._content = read_reward_file(copy if copy.is_file() and not self._path.exists() else self._path)
        self.functions = functions_in(self._content, self._path)
        if not are_rewards_allowed(self._content):
            raise not_allowed(self._path)
        if is_main_process():
            copy.unlink(missing_ok=True)  # it may be a link
            copy.write_bytes(self._content)
        self._process: _Process | None = None

    def scores(self, function: str) -> Callable[[Sequence[AnswerSample]], list[float | None]]:
        """Scores by one of the functions. Raises `UserError`, as its calls do."""
        if function not in self.functions:
            raise self._wrong(say(
                "{file} has no function {function}; it has: {names}.",
                function=function, names=", ".join(self.functions),
            ))  # fmt: skip

        def score(samples: Sequence[AnswerSample]) -> list[float | None]:
            process = self._process or self._start()
            calls = [samples] if process.takes_lists[function] else [[sample] for sample in samples]
            return [value for call in calls for value in self._call(process, function, call)]

        return score

    def _start(self) -> _Process:
        self._process = process = _Process()
        limit = IMPORT_SECONDS + self._timeout
        reply = process.ask(Start(self._content, str(self._path), self.functions), limit)
        if isinstance(reply, WorkerReply) and not reply.error:
            process.takes_lists = reply.takes_lists
            return process
        self.close()
        raise self._failed(reply, "", limit)

    def _call(self, process: _Process, function: str, samples: Sequence[AnswerSample]) -> list[float | None]:
        reply = process.ask(Call(function, list(samples)), self._timeout)
        if isinstance(reply, WorkerReply) and not (reply.error or reply.wrong):
            if len(reply.scores) == len(samples):
                return reply.scores
            raise self._wrong(say(
                "{file}: {function} returned {found} scores for {count} answers.",
                function=function, found=len(reply.scores), count=len(samples),
            ))  # fmt: skip
        self.close()
        raise self._failed(reply, function, self._timeout)

    def _failed(self, reply: WorkerReply | int | None, function: str, limit: float) -> UserError:
        """The error for a reply with one, an exit code, or None for no reply in time."""
        where = function or "its import"
        if reply is None:
            return self._wrong(
                say("{file}: {function} took longer than {seconds} seconds.", function=where, seconds=limit),
                say("Make it faster, or raise grpo.rewards_timeout."),
            )
        if isinstance(reply, int):
            message = say("{file}: {function} ended the process, with code {code}.", function=where, code=reply)
            return self._wrong(message)
        if reply.wrong:
            return self._wrong(Message(reply.wrong.template, {**reply.wrong.values, "function": where}))
        if not reply.line:
            return self._wrong(say("{file}: {function}: {reason}", function=where, reason=reply.error))
        return self._wrong(say(
            "{file}, line {line}: {function}: {reason}", line=reply.line, function=where, reason=reply.error
        ))  # fmt: skip

    def _wrong(self, message: Message, hint: Message | None = None) -> UserError:
        named = Message(message.template, {**message.values, "file": self._path.name})
        return UserError("rewards_file", named, hint, FIELD)

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
        self._process = None


def not_allowed(path: Path) -> UserError:
    """The error for a file that the user has not confirmed, or that changed since."""
    return UserError(
        "rewards_not_allowed",
        say("{path} has your rights on this machine, and you have not allowed it as it is now.", path=str(path)),
        say("Read it, then allow it with --allow-rewards, or start the run in the wizard, which asks."),
        FIELD,
    )


class _Process:
    """The worker: one request at a time, a line of JSON each way. What the file prints goes to the engine's log."""

    def __init__(self) -> None:
        self.takes_lists: dict[str, bool] = {}
        self._child = subprocess.Popen(
            python("-m", "engine.rewards.worker"), env=environment(), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self._child.stdout
        os.set_blocking(self._child.stdout.fileno(), False)

    def ask(self, request: Start | Call, seconds: float) -> WorkerReply | int | None:
        """The reply; the exit code if the worker ended; None if it took longer than `seconds`."""
        assert self._child.stdin
        with suppress(OSError):  # it has ended: reading will tell
            self._child.stdin.write(msgspec.json.encode(request) + b"\n")
            self._child.stdin.flush()
        line = self._read_line(time.monotonic() + seconds)
        if line is None:
            return None
        return msgspec.json.decode(line, type=WorkerReply) if line else self._child.wait()

    def _read_line(self, deadline: float) -> bytes | None:
        """The next line; empty if the worker ended, None if it took too long."""
        assert self._child.stdout
        found = b""
        with selectors.DefaultSelector() as ready:
            ready.register(self._child.stdout, selectors.EVENT_READ)
            while not found.endswith(b"\n"):
                if not ready.select(deadline - time.monotonic()):
                    if time.monotonic() >= deadline:
                        return None
                    continue
                piece = os.read(self._child.stdout.fileno(), 1 << 16)
                if not piece:
                    return b""
                found += piece
        return found

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()

    def __del__(self) -> None:
        with suppress(Exception):
            self.kill()
