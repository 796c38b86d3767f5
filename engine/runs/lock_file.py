"""The lock of a run folder: the process that holds it is its only engine. The kernel releases it on any exit."""

import fcntl
import os
import time
from pathlib import Path

from engine.config.files import open_file

LOCK_SECONDS = 1.0  # retry for this long: `is_alive` holds the lock for a moment


def acquire_lock(path: Path) -> int:
    """Acquire the lock and return its handle; closing that releases it. Raises BlockingIOError, or OSError."""
    handle = open_file(path, os.O_RDWR | os.O_CREAT)
    end = time.monotonic() + LOCK_SECONDS
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
