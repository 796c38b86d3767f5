"""Which process holds a run's lock, and whether it is stopped."""

from __future__ import annotations

import os

from engine.runs.folder import RunFolder
from engine.runs.lock_file import acquire_lock
from engine.runs.lock_owner import is_frozen, lock_owner, saved_work, terminate


def test_lock_owner_is_found_in_the_kernels_list(folder: RunFolder):
    folder.path.mkdir(parents=True, exist_ok=True)
    assert lock_owner(folder) is None
    handle = acquire_lock(folder.lock)
    assert lock_owner(folder) == os.getpid()
    assert not is_frozen(folder)
    os.close(handle)
    assert lock_owner(folder) is None
    assert terminate(folder) == saved_work(folder)  # no process to terminate
    assert saved_work(folder).checkpoint is None
