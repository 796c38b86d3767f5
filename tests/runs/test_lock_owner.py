"""Who holds a run's lock, and whether it lives."""

from __future__ import annotations

import os

from engine.runs.folder import RunFolder
from engine.runs.lock_file import acquire_lock
from engine.runs.lock_owner import is_frozen, lock_owner, saved_work, terminate


def test_the_holder_of_a_lock_is_found_by_the_kernel(folder: RunFolder):
    folder.path.mkdir(parents=True, exist_ok=True)
    assert lock_owner(folder) is None
    handle = acquire_lock(folder.lock)
    assert lock_owner(folder) == os.getpid()
    assert not is_frozen(folder)
    os.close(handle)
    assert lock_owner(folder) is None
    assert terminate(folder) == saved_work(folder)  # nobody to end, nobody harmed
    assert saved_work(folder).checkpoint is None
