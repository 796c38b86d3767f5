"""Gives up long work in the middle: of a library in this thread, or of a program in a process of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.runs import python_process

WATCH_SECONDS = 0.2
TAIL_LINES = 40
# Starts a program that the kernel ends when we die, however we die, so that none goes on writing.
_CHILD = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != int(sys.argv[1]): os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class Cancelled(BaseException):
    """Someone gave the work up. Not an Exception, so that no library takes it for a failure to get over."""


@contextmanager
def cancellable(cancelled: Callable[[], bool], tick: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Raise `Cancelled` in this thread, wherever it is in Python code, once `cancelled`; `tick` now and then.

    Between two bytecodes, that is: a single call into C, as the writing of one file, is waited for.
    """
    thread, over, lock = ctypes.c_ulong(threading.get_ident()), threading.Event(), threading.Lock()
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            with suppress(Exception):
                tick()
            if cancelled():
                with lock:
                    if not over.is_set():  # again and again: a bare except may have swallowed it
                        raise_in(thread, ctypes.py_object(Cancelled))

    watcher = threading.Thread(target=watch, name="loris-cancel", daemon=True)
    if cancelled():
        raise Cancelled
    watcher.start()
    try:
        yield
    finally:
        with lock:
            over.set()
            raise_in(thread, None)  # one that is on its way is taken back
    if cancelled():
        raise Cancelled


class ToolFailed(Exception):
    """A program ended badly. `tail`: the end of what it said; `code` is negative for a signal."""

    def __init__(self, program: str, code: int, tail: list[str]) -> None:
        self.program, self.code, self.tail = program, code, tail
        super().__init__(f"{program}: exit code {code}: {' / '.join(tail[-3:])}")


def run_tool(
    command: list[str],
    cancelled: Callable[[], bool],
    *,
    line: Callable[[str], None] = lambda text: None,
    tick: Callable[[], None] = lambda: None,
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
    seconds: float | None = None,
    log: Callable[[str], object] | None = None,
) -> list[str]:
    """Run a program to its end; returns the last lines that it wrote. `log` gets all of them: standard output.

    Raises `Cancelled`, `ToolFailed`, or OSError. It gets no standard input: nothing can be asked.
    """
    if cancelled():
        raise Cancelled
    process = subprocess.Popen(
        python_process.python("-I", "-S", "-c", _CHILD, str(os.getpid()), *command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**python_process.environment(), "UNSLOTH_AUTO_INSTALL": "0", **(environment or {})},
        cwd=folder,
        start_new_session=True,
    )
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    log = log or sys.stdout.write
    give_up = time.monotonic() + seconds if seconds else None

    def listen() -> None:
        assert process.stdout is not None
        for raw in process.stdout:
            for text in raw.decode("utf-8", "replace").replace("\r", "\n").splitlines():
                if text.strip():
                    log(text + "\n")
                    tail.append(text.rstrip())
                    with suppress(Exception):
                        line(text)

    listener = threading.Thread(target=listen, name="loris-tool", daemon=True)
    listener.start()
    try:
        while process.poll() is None:
            if cancelled():
                raise Cancelled
            if give_up and time.monotonic() > give_up:
                raise ToolFailed(_name(command), -signal.SIGALRM, list(tail))
            tick()
            time.sleep(WATCH_SECONDS / 4)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        listener.join(5.0)
    if process.returncode:
        raise ToolFailed(_name(command), process.returncode, list(tail))
    return list(tail)


def _name(command: list[str]) -> str:
    """What a program is called: of a script the script, not the Python that runs it."""
    if command[0] == sys.executable and len(command) > 1:
        return next(Path(word).name for word in (*command[1:], command[0]) if not word.startswith("-"))
    return Path(command[0]).name
