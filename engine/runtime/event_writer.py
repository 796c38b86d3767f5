"""Writes the events of a run: the one writer of `events.jsonl`."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.protocol import events as ev
from engine.runtime.ranks import is_leader

MOST_UNWRITTEN = 4 << 20  # bytes of events kept for a disk that is full


class EventWriter:
    """Appends events, one `write` a line, from any thread. Of several ranks only rank 0 writes."""

    def __init__(self, path: Path) -> None:
        """Open for appending. Raises OSError when the file cannot be written."""
        self.folder = path.parent
        self._start = time.monotonic()
        self._lock = threading.RLock()
        self._file: int | None = None
        self._unwritten = b""
        self.stage: ev.Stage = "starting"
        if not is_leader():
            return
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")  # an engine that was killed left a torn line: close it

    def emit(self, event: ev.AnyEvent) -> None:
        """Stamp and append an event. An event after `close` is dropped."""
        with self._lock:
            if isinstance(event, ev.StageChanged):
                self.stage = event.stage
            if self._file is None:
                return
            stamped = msgspec.structs.replace(
                event, time=time.time(), elapsed=round(time.monotonic() - self._start, 6)
            )
            self._write(ev.encode(stamped))

    def _write(self, line: bytes) -> None:
        """Append a line, and what a full disk did not take before. Training is not to end for that."""
        assert self._file is not None
        if len(self._unwritten) < MOST_UNWRITTEN:
            self._unwritten += line
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[os.write(self._file, self._unwritten) :]
        except OSError:
            return  # the next event tries again

    def enter(self, stage: ev.Stage) -> None:
        """Report that the engine went on to `stage`; silent when it is there already."""
        with self._lock:
            if stage != self.stage:
                self.emit(ev.StageChanged(stage=stage))

    def close(self, exit_code: int) -> None:
        """Write the last event, and take no more."""
        with self._lock:
            self.emit(ev.EngineEnded(exit_code=exit_code))
            if self._file is not None:
                with suppress(OSError):
                    os.fsync(self._file)
                os.close(self._file)
                self._file = None
