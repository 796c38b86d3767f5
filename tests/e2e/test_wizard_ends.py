"""However the wizard ends, it is gone soon after, and so is the engine that it kept warm."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.runs.run_list import list_runs
from tests.helpers.tmux_terminal import Tmux
from tests.helpers.waiting import wait_for

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
ROOT = Path(__file__).parents[2]
# The wizard as it is, with an engine that only pretends.
WIZARD = f"""
import sys
from engine.client import launch
launch.ENGINE = ({str(ROOT / "tests/helpers/scripts/fake_engine.py")!r},)
from tui.cli.main import main
sys.exit(main(["demo", "--lang", "en"]))
"""


def processes(word: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", "--", word], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in found.split()]


@pytest.mark.parametrize("how", ["closed", "terminated"])
def test_nothing_is_left_behind(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    home, script = tmp_path / "home", tmp_path / "wizard.py"
    monkeypatch.setenv("LORIS_HOME", str(home))
    script.write_text(WIZARD)
    env = {"LORIS_HOME": str(home), "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT), "FAKE_PLAY": "well"}
    terminal = Tmux(tmp_path / "tmux.sock", 80, 24, env)
    try:
        terminal.type(f"{sys.executable} {script}\n")
        terminal.wait_for("Start training")
        terminal.keys("F2")
        terminal.wait_for("Which model")
        terminal.keys("C-n")
        wait_for(lambda: [run.state for run in list_runs()] == ["ready"], what="no engine was kept warm")
        assert processes(f"fake_engine.py {home}")
        (wizard,) = processes(f"{sys.executable} {script}")
        if how == "closed":
            terminal.close()
        else:
            os.kill(wizard, signal.SIGTERM)
        wait_for(lambda: not processes(f"fake_engine.py {home}"), what="the engine continues")
        wait_for(lambda: not processes(f"{sys.executable} {script}"), what="the wizard goes on")
        assert list((home / "runs").iterdir()) == []
    finally:
        terminal.close()
        for left in processes(str(tmp_path)):
            os.kill(left, signal.SIGKILL)
