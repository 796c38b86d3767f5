"""The whole way in a terminal, through the installed command and the real engine, with a crash in the middle.

`loris demo` is started, trains, and is killed with SIGKILL; the training ends all the same, and a new `loris`
shows the run with its full curve, chats with it and saves it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.protocol.events import decode
from engine.protocol.state import RunState, fold
from engine.runs.folder import RunFolder
from engine.runs.run_list import is_alive, list_runs
from tests.helpers.run_invariants import check_files, check_status
from tests.helpers.tmux_terminal import Tmux
from tests.helpers.waiting import wait_for

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
LORIS = Path(sys.executable).with_name("loris")


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Tmux]]:
    """Logs in: a terminal of its own each time, all of one user."""
    monkeypatch.setenv("LORIS_HOME", str(tmp_path / "home"))
    env = {"LORIS_HOME": str(tmp_path / "home"), "LC_ALL": "C.UTF-8", "HF_HUB_OFFLINE": "1"}
    terminals: list[Tmux] = []

    def opened() -> Tmux:
        terminals.append(Tmux(tmp_path / f"tmux{len(terminals)}.sock", 100, 30, env))
        return terminals[-1]

    yield opened
    for terminal in terminals:
        terminal.close()
    for run in list_runs():
        if run.alive and (started := state_of(run.folder).started):
            os.kill(started.pid, signal.SIGKILL)


def state_of(folder: RunFolder) -> RunState:
    lines = folder.events.read_bytes().splitlines() if folder.events.exists() else []
    return fold(event for line in lines if (event := decode(line)))


def loris(*arguments: str) -> str:
    """What the command prints."""
    done = subprocess.run([str(LORIS), "--lang", "en", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def status(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(loris("status", name, "--json"))
    return found


def goes_on(name: str, seen: int) -> None:
    """A fresh command says that the run trains, and later ones that it makes steps."""
    first = status(name)
    assert (first["state"], first["alive"], first["failure"]) == ("training", True, None)
    assert first["step"] >= seen
    wait_for(lambda: status(name)["step"] > first["step"], 60, "another step")


def is_shown(terminal: Tmux, name: str) -> None:
    """A fresh `loris` has the run first, and a key later its curve."""
    terminal.type(f"{LORIS} --lang en\n")
    terminal.wait_for("Running now", name)
    terminal.keys("Enter")
    terminal.wait_for("/80", "loss, smoothed")


@pytest.mark.timeout(600)
def test_sigkill_of_the_wizard_loses_nothing_on_the_whole_way(login: Callable[[], Tmux]) -> None:
    tmux = login()
    tmux.type(f"{LORIS} demo --lang en\n")
    tmux.wait_for("Start training", "7 of 7")
    tmux.keys("C-r")
    tmux.wait_for("step", "/80", seconds=180)

    (run,) = [run for run in list_runs() if not run.draft]
    wait_for(lambda: len(state_of(run.folder).loss) > 5, 60, "a few steps")
    os.kill(tmux.program(), signal.SIGKILL)
    check_status(run.folder, None, {"state": "training", "alive": True, "frozen": False})
    seen = len(state_of(run.folder).loss)
    assert seen < 80, "the training was over before the kill: this proves nothing"
    tmux.wait_for("Killed")
    assert is_alive(run.folder)
    goes_on(run.name, seen)
    again = login()
    is_shown(again, "demo")
    again.close()  # and this line drops, too

    wait_for(lambda: state_of(run.folder).stage == "serving", 360, "the end of training")
    check_status(run.folder, None, {"state": "serving", "alive": True, "trained": True, "step": 80})
    check_files(run.folder)
    assert len(state_of(run.folder).loss) == 80
    assert "Could not build the patched" not in run.folder.log.read_text(), "see engine.inference.base_model.fused"
    assert (run.folder.adapter / "adapter_model.safetensors").is_file()

    tmux.type("reset\n")  # a killed program leaves the terminal as it was drawing
    tmux.type(f"{LORIS} --lang en\n")
    tmux.wait_for("Running now", "demo")
    tmux.keys("Enter")
    screen = tmux.wait_for("80/80")
    assert "loss" in screen

    tmux.keys("c")
    tmux.wait_for("Your question")
    tmux.type("Who exactly are you?")
    tmux.keys("C-r")  # the base model and the adapter, on the same question
    tmux.wait_for("small language model", "a slow loris", seconds=60)

    tmux.keys("C-s")
    tmux.wait_for("Merged 16-bit model", "It will be at")
    tmux.keys("C-s")
    screen = tmux.wait_for("Exported to", seconds=60)
    assert "✗" not in screen
    assert (run.folder.exports / "merged_16bit" / "model.safetensors").is_file()


@pytest.mark.timeout(300)
def test_hang_up_by_the_end_of_the_tmux_server_and_a_stop_from_another_login(login: Callable[[], Tmux]) -> None:
    """The terminal hangs up for good: its server is ended. Then everything by the command line."""
    tmux = login()
    tmux.type(f"{LORIS} demo --lang en\n")
    tmux.wait_for("Start training", "7 of 7")
    tmux.keys("C-r")
    tmux.wait_for("step", "/80", seconds=180)
    (run,) = [run for run in list_runs() if not run.draft]
    wait_for(lambda: len(state_of(run.folder).loss) > 3, 60, "a few steps")
    wizard = tmux.program()
    tmux.close()
    check_status(run.folder, None, {"state": "training", "alive": True, "frozen": False})
    wait_for(lambda: not Path(f"/proc/{wizard}").exists(), 20, "the end of the wizard")
    assert is_alive(run.folder)

    goes_on(run.name, 3)
    is_shown(login(), "demo")
    assert f"* {run.name}" in loris("ls")
    assert "Unsloth" in loris("logs", run.name)
    assert "What was trained is saved and complete" in loris("stop", run.name)
    last = status(run.name)
    assert (last["state"], last["alive"], last["trained"]) == ("stopped", False, True)
    check_files(run.folder)
