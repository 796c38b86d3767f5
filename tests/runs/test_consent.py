"""The consent to a command after a run is the user's own file, bound to the run's path and the command."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from engine.runs.consent import give_consent, has_consent
from engine.runs.folder import RunFolder
from engine.runs.run_list import delete_run

COMMAND = "shutdown -h now"


def test_a_consent_shipped_inside_a_run_folder_is_not_trusted(folder: RunFolder) -> None:
    folder.old_consent.write_text(hashlib.sha256(COMMAND.encode()).hexdigest() + "\n")
    assert not has_consent(folder, COMMAND)


def test_a_consent_is_bound_to_path_and_command(folder: RunFolder, home: Path, tmp_path: Path) -> None:
    give_consent(folder, COMMAND)
    assert has_consent(folder, COMMAND)
    assert not has_consent(folder, COMMAND + " ")
    (tmp_path / "link").symlink_to(folder.path)
    assert has_consent(RunFolder(tmp_path / "link"), COMMAND), "the same folder by another name"
    (file,) = (home / "consents").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    moved = RunFolder(folder.path.rename(folder.path.with_name("moved")))
    assert not has_consent(moved, COMMAND)
    os.rename(moved.path, folder.path)
    delete_run(folder)
    folder.path.mkdir()
    assert not has_consent(folder, COMMAND), "of a later run in a folder of this name"
