"""A terminal for tests and measurements: a program in a pty, its raw output, and keys to press."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping


class Terminal:
    """Runs a program until `close`. `output` has every byte that it wrote."""

    def __init__(
        self, arguments: list[str], columns: int = 120, lines: int = 36, env: Mapping[str, str] | None = None
    ) -> None:
        self.started = time.perf_counter()
        self.output = b""
        self.pid, self._handle = pty.fork()
        if self.pid == 0:
            os.environ.update(
                {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8", **(env or {})}
            )
            try:
                os.execvp(arguments[0], arguments)
            finally:
                os._exit(127)
        fcntl.ioctl(self._handle, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self, seconds: float) -> bytes:
        """The output of the next seconds."""
        end = time.perf_counter() + seconds
        before = len(self.output)
        while (left := end - time.perf_counter()) > 0 and self._take(left):
            pass
        return self.output[before:]

    def read_some(self, seconds: float) -> bytes:
        """The next output, as soon as it comes; empty after so many seconds."""
        before = len(self.output)
        self._take(seconds)
        return self.output[before:]

    def wait_for(self, text: bytes, seconds: float = 30.0) -> float:
        """Read until new output has `text`; returns the seconds it took. Raises TimeoutError."""
        start, before = time.perf_counter(), len(self.output)
        while text not in self.output[before:]:
            left = start + seconds - time.perf_counter()
            if left <= 0 or not self._take(left):
                raise TimeoutError(f"{text!r} did not come; the end was {self.output[-2000:]!r}")
        return time.perf_counter() - start

    def press(self, keys: bytes) -> None:
        os.write(self._handle, keys)

    def _take(self, seconds: float) -> bool:
        """Read once; returns False when the program has ended."""
        ready, _, _ = select.select([self._handle], [], [], seconds)
        if ready:
            try:
                data = os.read(self._handle, 1 << 16)
            except OSError:
                return False
            self.output += data
            return bool(data)
        return True

    def close(self) -> None:
        """Hang up, as a lost connection does, and wait for the program's end."""
        os.close(self._handle)
        for _ in range(50):
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                return
            time.sleep(0.1)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
