"""Killed, terminated, rebooted: the code and the message for an engine that died."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest

from engine.protocol import events as ev
from engine.protocol.state import RunState, fold
from engine.runs import machine, pid_file
from engine.runs.exit_cause import exit_cause_of
from engine.runs.folder import RunFolder
from engine.runs.lock_file import acquire_lock
from engine.runs.run_list import summarise
from tests.helpers.run_events import SAVED, STEP, TRAINING, finished, stage, write_run

HERE = ev.EngineStarted(
    pid=1, hostname=os.uname().nodename, versions={}, boot_id=machine.boot_id(), memory_kills=machine.memory_kills()
)


def after(started: ev.EngineStarted, *more: ev.AnyEvent) -> RunState:
    return fold([started, stage("training"), TRAINING, STEP, *more])


def changed(**fields: object) -> ev.EngineStarted:
    return msgspec.structs.replace(HERE, **fields)


@pytest.mark.parametrize(
    ("state", "code", "exit_code", "words"),
    [
        (after(HERE), "killed", 137, "kill -9"),
        (after(changed(boot_id="another")), "rebooted", None, "restarted"),
        (after(changed(boot_id="another", hostname="gpu-7")), "other_machine", None, "gpu-7"),
        (after(HERE, ev.EngineEnded(exit_code=143)), "terminated", 143, "SIGTERM"),
        (after(changed(boot_id="another"), ev.EngineEnded(exit_code=143)), "terminated", 143, "SIGTERM"),
        (after(changed(boot_id="", hostname="gpu-7")), "killed", 137, "kill -9"),  # of an older Loris
        (RunState(), "killed", None, "never reported"),
    ],
)
def test_exit_cause(state: RunState, code: str, exit_code: int | None, words: str) -> None:
    why = exit_cause_of(state, 20)
    assert why
    assert (why.code, why.exit_code) == (code, exit_code)
    assert words in str(why.message)
    assert "step 20" in str(why.hint) or code == "other_machine"
    without = exit_cause_of(state, None)
    assert without
    assert "first step" in str(without.hint) or code == "other_machine"


def test_oom_kill_is_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    count = machine.memory_kills()
    monkeypatch.setattr("engine.runs.exit_cause.memory_kills", lambda: count + 1)
    why = exit_cause_of(after(HERE), None)
    assert why
    assert (why.code, why.exit_code) == ("killed", 137)
    assert "memory ran out" in str(why.message)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_engine_that_exited_by_itself_is_not_lost(code: int) -> None:
    assert exit_cause_of(after(HERE, ev.EngineEnded(exit_code=code)), 20) is None


def test_finished_run_whose_engine_was_killed_is_completed(folder: RunFolder) -> None:
    write_run(folder, HERE, stage("training"), TRAINING, STEP, finished("completed"), SAVED, stage("serving"))
    assert (summarise(folder).state, summarise(folder).lost) == ("completed", None)


# Before the first event


@pytest.fixture
def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def test_engine_killed_before_its_first_event(folder: RunFolder, sleeper: subprocess.Popen[bytes]) -> None:
    pid_file.write_pid(folder, sleeper.pid)
    assert not pid_file.is_gone(folder)
    assert summarise(folder).state == "starting"
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # exited, and not yet waited for: a zombie
    assert pid_file.is_gone(folder)
    assert (summarise(folder).state, summarise(folder).lost) == ("interrupted", "killed")
    sleeper.wait()
    assert pid_file.is_gone(folder)


def test_reused_pid_is_another_process(folder: RunFolder) -> None:
    pid_file.write_pid(folder, os.getpid())
    pid, started, boot = folder.pid_file.read_text().split()
    assert not pid_file.is_gone(folder)
    folder.pid_file.write_text(f"{pid} {int(started) - 1} {boot}\n")
    assert pid_file.is_gone(folder)
    folder.pid_file.write_text(f"{pid} {started} another-boot\n")
    assert pid_file.is_gone(folder)


def test_engine_started_by_hand_that_exited_without_events(folder: RunFolder) -> None:
    assert summarise(folder).state == "starting"
    os.close(acquire_lock(folder.lock))
    assert (summarise(folder).state, summarise(folder).lost) == ("interrupted", "killed")


@pytest.mark.parametrize("text", [b"", b"x", b"1 2", b"x y z", b"\xff"])
def test_malformed_pid_file_is_ignored(folder: RunFolder, text: bytes) -> None:
    folder.pid_file.write_bytes(text)
    assert not pid_file.is_gone(folder)
    assert summarise(folder).state == "starting"
