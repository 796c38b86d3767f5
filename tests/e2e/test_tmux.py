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
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.client.runs import is_alive, list_runs
from engine.spec.events import decode
from engine.spec.folder import RunFolder
from engine.spec.state import RunState, fold
from tests.e2e.tmux import Tmux
from tests.engine.aftermath import nothing_broken, truth

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
LORIS = Path(sys.executable).with_name("loris")


@pytest.fixture
def tmux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tmux]:
    monkeypatch.setenv("LORIS_HOME", str(tmp_path / "home"))
    env = {"LORIS_HOME": str(tmp_path / "home"), "LC_ALL": "C.UTF-8", "HF_HUB_OFFLINE": "1"}
    terminal = Tmux(tmp_path / "tmux.sock", 100, 30, env)
    yield terminal
    terminal.close()
    for run in list_runs():
        if run.alive and (started := state_of(run.folder).started):
            os.kill(started.pid, signal.SIGKILL)


def state_of(folder: RunFolder) -> RunState:
    lines = folder.events.read_bytes().splitlines() if folder.events.exists() else []
    return fold(event for line in lines if (event := decode(line)))


def loris_process() -> int:
    """The wizard's process: the newest that runs the command."""
    found = subprocess.run(["pgrep", "-n", "-f", str(LORIS)], capture_output=True, text=True, check=True)
    return int(found.stdout)


def until(condition: object, seconds: float, what: str) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come in {seconds} s"
        time.sleep(0.2)


@pytest.mark.timeout(480)
def test_sigkill_of_the_wizard_loses_nothing_on_the_whole_way(tmux: Tmux, tmp_path: Path) -> None:
    tmux.type(f"{LORIS} demo --lang en\n")
    tmux.wait_for("Start training", "7 of 7")
    tmux.keys("C-r")
    tmux.wait_for("step", "/80", seconds=180)

    (run,) = [run for run in list_runs() if not run.draft]
    until(lambda: len(state_of(run.folder).loss) > 5, 60, "a few steps")
    os.kill(loris_process(), signal.SIGKILL)
    truth(run.folder, None, {"state": "training", "alive": True, "frozen": False})
    seen = len(state_of(run.folder).loss)
    assert seen < 80, "the training was over before the kill: this proves nothing"
    tmux.wait_for("Killed")

    until(lambda: state_of(run.folder).stage == "serving", 240, "the end of training")
    truth(run.folder, None, {"state": "serving", "alive": True, "trained": True, "step": 80})
    nothing_broken(run.folder)
    assert len(state_of(run.folder).loss) == 80
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
    screen = tmux.wait_for("Saved at", seconds=60)
    assert "✗" not in screen
    assert (run.folder.exports / "merged_16bit" / "model.safetensors").is_file()


@pytest.mark.timeout(300)
def test_hang_up_by_the_end_of_the_tmux_server_and_a_stop_from_another_login(tmux: Tmux, tmp_path: Path) -> None:
    """The line drops for good: the server is ended. Then everything by the command line."""
    tmux.type(f"{LORIS} demo --lang en\n")
    tmux.wait_for("Start training", "7 of 7")
    tmux.keys("C-r")
    tmux.wait_for("step", "/80", seconds=180)
    (run,) = [run for run in list_runs() if not run.draft]
    until(lambda: len(state_of(run.folder).loss) > 3, 60, "a few steps")
    wizard = loris_process()
    tmux.close()
    truth(run.folder, None, {"state": "training", "alive": True, "frozen": False})
    until(lambda: not Path(f"/proc/{wizard}").exists(), 20, "the end of the wizard")
    assert is_alive(run.folder)

    def loris(*arguments: str) -> str:
        done = subprocess.run([str(LORIS), "--lang", "en", *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    assert f"* {run.name}" in loris("ls")
    status = json.loads(loris("status", run.name, "--json"))
    assert status["state"] == "training"
    assert status["alive"] is True
    assert status["step"] > 3
    assert "Unsloth" in loris("logs", run.name)
    assert "The trained adapter is saved and whole" in loris("stop", run.name)
    status = json.loads(loris("status", run.name, "--json"))
    assert (status["state"], status["alive"], status["trained"]) == ("stopped", False, True)
    nothing_broken(run.folder)
