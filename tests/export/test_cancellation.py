"""Cancelling an export: work in this process, and the programs that it starts."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.export.cancellation import Cancelled, ToolFailed, cancellable, run_tool


def test_work_in_this_thread_is_cancelled_even_past_a_bare_except() -> None:
    asked = False

    def work() -> None:
        nonlocal asked
        with cancellable(lambda: asked):
            asked = True
            with contextlib.suppress(BaseException):  # as a library's bare except does
                busy()
            busy()

    def busy() -> None:
        for _ in range(5000):
            time.sleep(0.001)

    started = time.monotonic()
    with pytest.raises(Cancelled):
        work()
    assert time.monotonic() - started < 20
    time.sleep(0.5)  # nothing is raised any more


def test_a_program_is_cancelled_with_all_that_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    command = ["sh", "-c", f"echo here; (while true; do echo x >> {mark}; sleep 0.05; done) & wait"]
    started = time.monotonic()
    with pytest.raises(Cancelled):
        run_tool(["/bin/" + command[0], *command[1:]], lambda: mark.exists())
    assert time.monotonic() - started < 10
    size = mark.stat().st_size
    time.sleep(0.3)
    assert mark.stat().st_size == size


def test_a_program_dies_with_the_engine(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = (
        "import os, sys, threading, time\nfrom engine.export.cancellation import run_tool\n"
        f"threading.Timer(1.0, lambda: os.kill(os.getpid(), 9)).start()\n"
        f"run_tool(['/bin/sh', '-c', 'while true; do echo x >> {mark}; sleep 0.05; done'], lambda: False)"
    )
    subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    time.sleep(0.2)
    size = mark.stat().st_size
    time.sleep(0.3)
    assert mark.stat().st_size == size > 0


def test_a_program_that_fails_says_why_and_gets_no_standard_input() -> None:
    with pytest.raises(ToolFailed) as caught:
        run_tool(["/bin/sh", "-c", "cat; echo first; echo the reason >&2; exit 3"], lambda: False)
    assert caught.value.code == 3
    assert caught.value.tail == ["first", "the reason"]
