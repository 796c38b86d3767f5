"""An exported folder appears complete or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.export.atomic_folder import atomic_folder, remove_stale
from engine.export.cancellation import Cancelled
from engine.messages.errors import UserError


def test_a_folder_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with atomic_folder(target) as folder:
        (folder / "weights").write_text("w")
        assert not target.exists()
        assert folder.parent == target.parent
    assert [path.name for path in target.iterdir()] == ["weights"]

    def fail(error: BaseException, replace: bool) -> None:
        with atomic_folder(target, replace=replace) as folder:
            (folder / "half").write_text("h")
            raise error

    with pytest.raises(OSError, match="full"):
        fail(OSError("full"), True)
    with pytest.raises(Cancelled):
        fail(Cancelled(), True)
    with pytest.raises(UserError, match="already"):
        fail(OSError("never gets there"), False)
    assert [path.name for path in target.parent.iterdir()] == ["model"]
    assert [path.name for path in target.iterdir()] == ["weights"]
    with atomic_folder(target, replace=True) as folder:
        (folder / "newer").write_text("n")
    assert [path.name for path in target.iterdir()] == ["newer"]


def test_what_a_killed_engine_left_is_recognized_and_removed(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom engine.export.atomic_folder import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1])) as folder:\n    (folder / 'half').write_text('h')\n"
        "    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "model")], check=False)
    (left,) = list(tmp_path.iterdir())
    assert left.name.startswith(".model.")
    (tmp_path / ".bashrc.deadbeef").mkdir()  # the user's own, whatever it is
    with atomic_folder(tmp_path / "other") as alive:
        assert remove_stale(tmp_path) == [left]
        assert alive.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".bashrc.deadbeef", "other"]
