"""Cancels long work midway: a library call in this thread, or a program in its own process."""

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
# Starts a program that the kernel kills when this process dies, however it dies, so that nothing keeps writing.
_CHILD = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != int(sys.argv[1]): os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class Cancelled(BaseException):
    """The work was cancelled. Not an Exception, so that no library handles it as a failure."""


@contextmanager
def cancellable(cancelled: Callable[[], bool], tick: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Raise `Cancelled` in this thread, wherever it is in Python code, once `cancelled()`; calls `tick` regularly.

    It is raised between two bytecodes: a single call into C, such as writing one file, finishes first.
    """
    thread, over, lock = ctypes.c_ulong(threading.get_ident()), threading.Event(), threading.Lock()
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            with suppress(Exception):
                tick()
            if cancelled():
                with lock:
                    if not over.is_set():  # repeatedly: a bare except may have swallowed it
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
            raise_in(thread, None)  # withdraw one that is pending
    if cancelled():
        raise Cancelled


class ToolFailed(Exception):
    """A program failed. `tail`: its last lines of output; `code` is negative for a signal."""

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
    """Run a program to its end; returns its last lines. `log` receives all of them; by default, standard output.

    Raises `Cancelled`, `ToolFailed`, or OSError. It gets no standard input, so it cannot ask anything.
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
    deadline = time.monotonic() + seconds if seconds else None

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
            if deadline and time.monotonic() > deadline:
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
    """The program's name; for a script, the script's, not that of the Python running it."""
    if command[0] == sys.executable and len(command) > 1:
        return next(Path(word).name for word in (*command[1:], command[0]) if not word.startswith("-"))
    return Path(command[0]).name
