"""The lock of a run folder: whoever holds it is the one engine there. The kernel frees it on any death."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

PATIENCE = 1.0  # seconds: whoever asks whether an engine lives holds the lock for a blink


def hold(path: Path) -> int:
    """Take the lock and return its handle; closing that gives it back. Raises BlockingIOError, or OSError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(handle)
                raise
            time.sleep(0.02)
        except OSError:
            os.close(handle)
            raise
