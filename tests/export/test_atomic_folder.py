"""An exported folder appears complete or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.export.atomic_folder import atomic_folder
from engine.export.cancellation import Cancelled
from engine.messages.errors import UserError
from engine.runs.manifest import seal_export, write_manifest
from engine.runs.own_files import remove_stale
from tests.helpers.export_fixtures import names


def test_a_folder_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with atomic_folder(target) as folder:
        (folder / "weights").write_text("w")
        seal_export(folder)
        assert not target.exists()
        assert folder.parent == target.parent
    assert names(target) == ["SHA256SUMS", "loris-manifest.json", "weights"]

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
    assert names(target) == ["SHA256SUMS", "loris-manifest.json", "weights"]
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


def exported(target: Path, *files: str, replace: bool = False) -> list[Path]:
    """Export these files; returns what was kept of the user's."""
    kept: list[Path] = []
    with atomic_folder(target, replace=replace, on_kept=kept.extend) as folder:
        for name in files:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(f"new {name}")
        seal_export(folder)
    return kept


THEIRS = ("thesis.pdf", "SHA256SUMS", "deep/notes.txt")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of the user's that looks like an export, and a sibling with the name of one that is replaced."""
    folder = tmp_path / "model"
    for path in (*(folder / name for name in THEIRS), tmp_path / ".model.old" / "thesis.pdf"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    return folder


def test_overwrite_does_not_take_a_users_folder_for_an_earlier_export(theirs: Path) -> None:
    with pytest.raises(UserError, match=r"is no export of Loris's and is left as it is \(it has SHA256SUMS\)"):
        exported(theirs, "weights", replace=True)
    assert {(theirs / name).read_text() for name in THEIRS} == {"mine"}
    (theirs.parent / "link").symlink_to(theirs)
    with pytest.raises(UserError, match="is a file or a link"):
        exported(theirs.parent / "link", "weights", replace=True)
    assert (theirs.parent / ".model.old" / "thesis.pdf").read_text() == "mine"
    assert names(theirs.parent) == [".model.old", "link", "model"]


def test_replacing_an_export_keeps_what_the_user_added_or_changed(tmp_path: Path) -> None:
    target, other = tmp_path / "out", tmp_path / "elsewhere"
    other.mkdir()
    (other / "precious").write_text("mine")
    exported(target, "weights", "Modelfile", "only-in-the-first", "deep/config", "deep/edited")
    (target / "thesis.pdf").write_text("mine")
    (target / "Modelfile").write_text("mine, edited")
    (target / "deep" / "edited").write_text("mine, edited")
    (target / "deep" / "notes").write_text("mine")
    (target / "empty").mkdir()
    (target / "linked").symlink_to(other)
    (target / "weights").unlink()
    (target / "weights").symlink_to(other / "precious")
    kept = exported(target, "weights", "Modelfile", "thesis.pdf", "deep/config", replace=True)
    assert sorted(path.relative_to(target).as_posix() for path in kept) == sorted(
        [
            "Modelfile.before", "deep/edited", "deep/notes", "empty", "linked", "thesis.pdf.before",
            "weights.before",
        ]
    )  # fmt: skip
    assert (target / "Modelfile").read_text() == "new Modelfile"
    assert (target / "Modelfile.before").read_text() == "mine, edited"
    assert (target / "thesis.pdf.before").read_text() == (target / "deep" / "notes").read_text() == "mine"
    assert (target / "empty").is_dir()
    assert (target / "linked").is_symlink()
    assert (target / "weights.before").is_symlink()
    assert not (target / "only-in-the-first").exists()
    assert (other / "precious").read_text() == "mine"
    assert names(tmp_path) == ["elsewhere", "out"]
    assert exported(target, "weights", "Modelfile", replace=True), "and once more"
    assert (target / "Modelfile.before").read_text() == "mine, edited"


def test_a_kill_while_an_export_is_replaced_loses_nothing(tmp_path: Path) -> None:
    """At both moments: the old folder is moved away; the new one is in its place, with the old one not emptied."""
    target, old = tmp_path / "out", tmp_path / ".out.0123abcd.old"
    exported(target, "weights")
    (target / "notes").write_text("mine")
    target.rename(old)
    assert remove_stale(tmp_path) == []
    assert names(target) == ["SHA256SUMS", "loris-manifest.json", "notes", "weights"]
    target.rename(old)
    exported(target, "weights")
    remove_stale(tmp_path)
    assert names(tmp_path) == ["out"]
    assert (target / "notes").read_text() == "mine"


def test_only_folders_that_loris_was_filling_are_removed(tmp_path: Path) -> None:
    """A copy of one, or the user's own with a lock in it, is not."""
    for name, lock in ((".mine.deadbeef", ""), (".copy.deadbeef", ".model.deadbeef"), (".it.deadbeef", None)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.pdf").write_text("mine")
        (tmp_path / name / ".loris-lock").write_text(name if lock is None else lock)
    assert remove_stale(tmp_path) == [tmp_path / ".it.deadbeef"]
    assert names(tmp_path) == [".copy.deadbeef", ".mine.deadbeef"]


@pytest.mark.parametrize("kind", ["folder", "link", "file"])
def test_what_is_in_the_place_of_the_runs_adapter_is_renamed(tmp_path: Path, kind: str) -> None:
    """Training is done and must be saved, whatever the user has put there."""
    target, other = tmp_path / "adapter", tmp_path / "big-disk"
    other.mkdir()
    (other / "weights").write_text("mine")
    match kind:
        case "folder":
            other.rename(target)
        case "link":
            target.symlink_to(other)
        case "file":
            target.write_text("mine")
    kept: list[Path] = []
    with atomic_folder(target, replace=True, aside=True, on_kept=kept.extend) as folder:
        (folder / "weights").write_text("new")
        write_manifest(folder)
    assert kept == [tmp_path / "adapter.before"]
    assert (target / "weights").read_text() == "new"
    assert kept[0].is_symlink() == (kind == "link")
    assert (kept[0] if kind == "file" else kept[0] / "weights").read_text() == "mine"


@pytest.mark.parametrize("name", ["checkpoint-5", "adapter"])
def test_overwrite_takes_neither_a_checkpoint_nor_a_runs_adapter(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.mkdir()
    (path / "weights").write_text("trained")
    write_manifest(path, 5)
    with pytest.raises(UserError, match="is no export of Loris's"):
        exported(path, "weights", replace=True)
    assert (path / "weights").read_text() == "trained"
