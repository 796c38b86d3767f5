"""A run folder that is not as it should be: torn and garbage lines, a stale socket, a reused pid, two engines."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.run_spec import RunSpec
from engine.protocol import commands as co
from engine.protocol import events as ev
from engine.protocol.state import fold
from engine.runs.lock_owner import lock_owner
from tests.helpers.engine_process import ENVIRONMENT, ROOT, Client, Engine
from tests.helpers.run_invariants import check_after_fault
from tests.helpers.short_run import run_to_end, small

GARBAGE = (
    b'\xff\xfe\x00garbage\n{"type":"Step","step":"x"}\n[[[[\n{"type":"Nonsense"}\n\n{"type":"Step","step":99,"torn'
)


@pytest.fixture(scope="module")
def killed(demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A run that was killed in its sixth step, after the wall clock jumped back a day in its third."""
    folder = tmp_path_factory.mktemp("folder") / "run"
    return run_to_end(folder, small(demo), "--exit", LORIS_FAULT="slow@0.1,clock@3,kill@6")


def test_clock_jumping_back(killed: Engine) -> None:
    times = [one.time for one in killed.events()]
    assert min(times) < times[0] - 80_000, "the fault did what it is for"
    seen = check_after_fault(killed, failure="killed", state="interrupted", alive=False, checkpoint=4, step=5)
    assert 0.5 < seen["training_seconds"] < 100
    assert seen["training_seconds"] < seen["seconds"] < 100


def test_torn_and_garbage_lines(killed: Engine) -> None:
    """They are passed over, and the next engine closes the torn one before it writes its own."""
    before = check_after_fault(killed, failure="killed", checkpoint=4, step=5)
    with killed.folder.events.open("ab") as file:
        file.write(GARBAGE)
    seen = check_after_fault(killed, failure="killed", state="interrupted", alive=False, checkpoint=4, step=5)
    assert seen["seconds"] == before["seconds"]
    later = run_to_end(killed.folder.path, None, "--exit", LORIS_FAULT="slow@0.1")
    assert later.finish() == 0
    check_after_fault(later, state="completed", alive=False, trained=True, step=8)
    assert [one.pid for one in later.events_of(ev.EngineStarted)] == [killed.process.pid, later.process.pid]
    state = fold(later.events())
    assert list(state.loss.steps) == [float(step) for step in range(1, 9)]
    assert state.clock.training_seconds > before["training_seconds"] + 0.3


def test_stale_socket_and_reused_pid(demo: RunSpec, tmp_path: Path) -> None:
    """What a killed engine left: a socket nobody listens at, and a pid that is another process by now."""
    folder = tmp_path / "run"
    gone = run_to_end(folder, small(demo), "--exit", LORIS_FAULT="kill@4")
    assert gone.folder.socket.exists(), "it is stale"
    lines = gone.folder.events.read_bytes().replace(b'"pid":%d,' % gone.process.pid, b'"pid":%d,' % os.getpid())
    gone.folder.events.write_bytes(lines)
    assert gone.events_of(ev.EngineStarted)[0].pid == os.getpid()
    check_after_fault(gone, failure="killed", state="interrupted", alive=False, checkpoint=2)
    assert lock_owner(gone.folder) is None
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(str(gone.folder.socket))
    later = Engine(folder, None, LORIS_FAULT="slow@0.05")
    try:
        later.wait_for_stage("serving")
        Client(later.folder).send(co.Shutdown)
        assert later.finish() == 0
    finally:
        later.kill()
    assert not later.folder.socket.exists()
    check_after_fault(later, state="completed", alive=False, trained=True)


def test_two_engines_on_one_run_folder(demo: RunSpec, tmp_path: Path) -> None:
    """The second is refused in one line and changes nothing; the first goes on."""
    first = Engine(tmp_path / "run", small(demo, max_steps=500), "--exit", LORIS_FAULT="slow@0.1")
    try:
        first.wait_for(lambda: first.events_of(ev.CheckpointSaved))
        second = subprocess.run(
            [sys.executable, "-m", "engine", str(first.folder.path), "--resume", "--exit"],
            cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert second.returncode == 2
        assert second.stderr == f"{first.folder.path}: another engine is running on this folder\n"
        check_after_fault(first, alive=True, state="training", trained=False)
        assert len(first.events_of(ev.EngineStarted)) == 1
        assert lock_owner(first.folder) == first.process.pid
        step = len(first.events_of(ev.Step))
        first.wait_for(lambda: len(first.events_of(ev.Step)) > step)
        assert isinstance(Client(first.folder).ask(co.Stop), co.Done)
        assert first.finish() == 0
    finally:
        first.kill()
    check_after_fault(first, state="stopped", alive=False, trained=True)
