"""The lock of a run folder: patient with those who only look, and held by the engine alone."""

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
from engine.runs.run_list import is_alive


def test_a_look_at_the_lock_does_not_keep_an_engine_from_it(tmp_path: Path) -> None:
    looking = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.1, os.close, [looking]).start()
    os.close(lock_file.hold(tmp_path / "lock"))


def test_a_held_lock_is_refused_before_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_file, "PATIENCE", 0.1)
    handle = lock_file.hold(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        lock_file.hold(tmp_path / "lock")
    os.close(handle)


def test_a_killed_engine_is_dead_though_its_workers_live(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    code = (
        "import os, sys, time; from pathlib import Path; from engine.__main__ import acquire_lock;"
        "from engine.runs.folder import RunFolder; acquire_lock(RunFolder(Path(sys.argv[1])));"
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


def test_an_engine_knows_that_its_wizard_is_gone() -> None:
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
