"""Writes the events of a run: the only writer of `events.jsonl`."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.config.files import open_file
from engine.protocol import events as ev
from engine.runtime.ranks import is_main_process

MAX_UNWRITTEN_BYTES = 4 << 20  # events kept in memory while the disk is full


class EventWriter:
    """Appends events, one `write` per line, from any thread. Only rank 0 writes."""

    def __init__(self, path: Path) -> None:
        """Open for appending. Raises OSError when the file cannot be written."""
        self.folder = path.parent
        self._start = time.monotonic()
        self._lock = threading.RLock()
        self._file: int | None = None
        self._unwritten = b""
        self.stage: ev.Stage = "starting"
        if not is_main_process():
            return
        self._file = open_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")  # end the torn line of an engine that was killed

    def emit(self, event: ev.AnyEvent) -> None:
        """Add the time to an event and append it. An event after `close` is dropped."""
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
        """Append a line, after those that a full disk did not accept. A full disk must not end training."""
        assert self._file is not None
        if len(self._unwritten) < MAX_UNWRITTEN_BYTES:
            self._unwritten += line
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[os.write(self._file, self._unwritten) :]
        except OSError:
            return  # the next event tries again

    def enter(self, stage: ev.Stage) -> None:
        """Report that the engine entered `stage`; silent when it is in it already."""
        with self._lock:
            if stage != self.stage:
                self.emit(ev.StageChanged(stage=stage))

    def close(self, exit_code: int) -> None:
        """Write the last event; later events are dropped."""
        with self._lock:
            self.emit(ev.EngineEnded(exit_code=exit_code))
            if self._file is not None:
                with suppress(OSError):
                    os.fsync(self._file)
                os.close(self._file)
                self._file = None
