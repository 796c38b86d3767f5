"""The lock of a run folder: held by the engine only; a process that only tests the lock does not block it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from engine.runs import lock_file
from engine.runs.folder import RunFolder
from engine.runs.lock_owner import lock_owner
from engine.runs.run_list import is_alive


def test_testing_the_lock_does_not_block_an_engine(tmp_path: Path) -> None:
    handle = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_SH)
    threading.Timer(0.1, os.close, [handle]).start()
    os.close(lock_file.acquire_lock(tmp_path / "lock"))


def test_held_lock_is_refused_after_the_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_file, "LOCK_SECONDS", 0.1)
    handle = lock_file.acquire_lock(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        lock_file.acquire_lock(tmp_path / "lock")
    os.close(handle)


def test_killed_engine_is_dead_while_its_workers_live(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    code = (
        "import os, sys, time; from pathlib import Path; from engine.__main__ import lock_folder;"
        "from engine.runs.folder import RunFolder; lock_folder(RunFolder(Path(sys.argv[1])));"
        "worker = os.fork(); worker and print(worker, flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    engine = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=root, stdout=subprocess.PIPE)
    assert engine.stdout
    worker = int(engine.stdout.readline())
    try:
        time.sleep(0.1)
        assert is_alive(folder)
        engine.kill()
        engine.wait()
        os.kill(worker, 0)
        assert not is_alive(folder)
    finally:
        os.kill(worker, signal.SIGKILL)


def test_engine_detects_that_its_wizard_has_exited() -> None:
    code = (
        "import os, time; from engine.runtime.control import Control; control = Control(None);"
        "print(control.orphaned, flush=True);\n"
        "while not control.orphaned: time.sleep(0.02)\n"
        "print(control.orphaned, flush=True)"
    )
    wizard = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1]], "
        "start_new_session=True); time.sleep(2)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", wizard, code], cwd=root, capture_output=True, text=True, timeout=20
    )
    assert done.stdout.split() == ["False", "True"]


def test_a_lock_that_is_a_link_is_nobodys(tmp_path: Path) -> None:
    """Or `loris stop` on a run from someone else would end the engine of another run."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "foreign").mkdir()
    mine, foreign = RunFolder(tmp_path / "mine"), RunFolder(tmp_path / "foreign")
    handle = lock_file.acquire_lock(mine.lock)
    foreign.lock.symlink_to(mine.lock)
    assert is_alive(mine)
    assert lock_owner(mine) == os.getpid()
    assert not is_alive(foreign)
    assert lock_owner(foreign) is None
    with pytest.raises(OSError, match="is a link"):
        lock_file.acquire_lock(foreign.lock)
    os.close(handle)
