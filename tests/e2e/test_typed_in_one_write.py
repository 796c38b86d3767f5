"""A whole form in one write to a real terminal, as SSH delivers what was typed on a slow line."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.helpers.tmux_terminal import Tmux

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
LORIS = Path(sys.executable).with_name("loris")
CLEAR = ("End", "C-u")


def test_what_was_typed_is_what_is_run_in_a_real_terminal(tmp_path: Path) -> None:
    env = {"LORIS_HOME": str(tmp_path / "home"), "LC_ALL": "C.UTF-8", "HF_HUB_OFFLINE": "1"}
    tmux = Tmux(tmp_path / "tmux.sock", 100, 30, env)
    try:
        tmux.type(f"{LORIS} demo --lang en\n")
        tmux.wait_for("Start training")
        tmux.keys(
            "F6", "Down", "Down", *CLEAR, *"90", "Up", "Up", *CLEAR, "3", "Down", *CLEAR, *"150",
            "F5", *CLEAR, *"64", "Down", *CLEAR, *"128", "F8",
        )  # fmt: skip
        tmux.wait_for("rank 64, alpha 128", "450 examples (3 × 150)", "ends after 90 steps")
    finally:
        tmux.close()
