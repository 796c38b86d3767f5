"""Engines that start fast: forked from a process that has imported Unsloth once for all tests.

Each runs `engine.__main__.main` with its own arguments, environment, session and exit code; only the import is
shared. Settings that libraries read at import cannot differ: for those, start a new process.
"""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing import get_context
from multiprocessing.forkserver import ForkServer
from pathlib import Path

from engine.__main__ import main
from engine.client.launch import has_accelerator

# Read by the libraries at import, before any fork
READ_AT_IMPORT = ("HF_", "CUDA_", "OMP_", "MKL_", "UNSLOTH_", "TORCH", "PYTORCH", "TOKENIZERS_")

_context = get_context("forkserver")
_server: ForkServer | None = None


def fits(environment: dict[str, str], base: dict[str, str]) -> bool:
    """Whether an engine with this environment can be forked from a process started with `base`.

    Never with a GPU: CUDA does not survive a fork.
    """
    if has_accelerator():
        return False
    names = {*environment, *base}
    return not any(n.startswith(READ_AT_IMPORT) and environment.get(n) != base.get(n) for n in names)


def _serve(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    sys.argv = ["engine", *arguments]
    if planned := environment.get("LORIS_FAULT"):
        from tests.helpers.fault_injection import plan

        plan(planned)
    sys.exit(main())


class Forked:
    """The part of `subprocess.Popen` that tests use."""

    def __init__(
        self, arguments: list[str], environment: dict[str, str], base: dict[str, str], folder: Path
    ) -> None:
        if _server is None:
            _start(base)
        self._process = _context.Process(target=_serve, args=(arguments, environment, str(folder)))
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; negative for a signal. Raises TimeoutError."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"the engine {self.pid} is still running after {timeout} seconds")
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _start(base: dict[str, str]) -> None:
    """Start the process that imports Unsloth, with `base` as its environment."""
    global _server
    _context.set_forkserver_preload(["tests.helpers.engine_imports"])
    from multiprocessing import forkserver

    _server = forkserver._forkserver  # type: ignore[attr-defined]
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(base)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
