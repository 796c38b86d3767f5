"""Only what Loris made is removed: from checkpoints, and from a run's folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.config.files import open_file, set_aside
from engine.protocol import events as ev
from engine.runs import manifest
from engine.runs.checksums import read_checksums, write_checksums
from engine.runs.folder import RunFolder
from engine.runs.own_files import (
    copy_own,
    is_export,
    own_files,
    remove_checkpoint,
    remove_leftovers,
    replace_folder,
)
from engine.runs.run_list import delete_run, list_runs
from tests.helpers.export_fixtures import names


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    (path / "deep").mkdir(parents=True)
    for name in ("weights", "deep/state"):
        (path / name).write_text(name)
    manifest.write_manifest(path, step)
    return path


def test_a_file_that_the_user_put_into_a_checkpoint_outlives_it(tmp_path: Path) -> None:
    plain, visited = checkpoint(tmp_path, 1), checkpoint(tmp_path, 2)
    (visited / "deep" / "notes").write_text("mine")
    for path in (plain, visited):
        remove_checkpoint(path)
    assert names(tmp_path) == ["checkpoint-2"]
    assert [path.name for path in visited.rglob("*")] == ["deep", "notes"]
    assert manifest.list_checkpoints(tmp_path) == []


def test_a_kill_in_the_middle_of_removing_a_checkpoint(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 2)
    (path / "notes").write_text("mine")
    (path / "weights").unlink()
    path.rename(tmp_path / f"{manifest.PARTIAL}checkpoint-2")
    (tmp_path / f"{manifest.PARTIAL}4" / "checkpoint-4").mkdir(parents=True)  # was being written
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["checkpoint-2"]
    assert names(path) == ["notes"]


def test_a_checkpoint_that_is_saved_again_keeps_what_was_added(tmp_path: Path) -> None:
    old, new = checkpoint(tmp_path, 2), checkpoint(tmp_path / "new", 2)
    (old / "notes").write_text("mine")
    assert replace_folder(new, old) == [old / "notes"]
    assert manifest.find_fault(old) == ""


def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    """One from someone else: with names that lead out of the folder, and through a link."""
    (tmp_path / "thesis.pdf").write_text("mine")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "thesis.pdf").write_text("mine")
    path = checkpoint(tmp_path, 1)
    entry = {"size": 4, "sha256": manifest.sha256(tmp_path / "thesis.pdf")}
    (path / "linked").symlink_to(tmp_path / "private")
    listed = {"../thesis.pdf": entry, "linked/thesis.pdf": entry, str(tmp_path / "thesis.pdf"): entry}
    (path / manifest.MANIFEST).write_bytes(manifest.msgspec.json.encode({"files": listed}))
    assert own_files(path) == {path / manifest.MANIFEST}
    remove_checkpoint(path)
    assert (tmp_path / "thesis.pdf").exists()
    assert (tmp_path / "private" / "thesis.pdf").exists()


def test_a_copy_claims_nothing_of_the_users(tmp_path: Path) -> None:
    source, plain = checkpoint(tmp_path, 1), tmp_path / "plain"
    (source / "thesis.pdf").write_text("mine")
    for target, leave_out in ((tmp_path / "copy", ()), (tmp_path / "part", ("stat*",))):
        target.mkdir()
        copy_own(source, target, leave_out)
        manifest.seal_export(target)
    assert set(read_checksums(tmp_path / "copy")) == {"weights", "deep/state"}
    assert set(read_checksums(tmp_path / "part")) == {"weights"}
    (source / manifest.MANIFEST).unlink()
    plain.mkdir()
    copy_own(source, plain)
    assert names(plain) == ["deep", "thesis.pdf", "weights"], "without a manifest nobody knows"


def test_deleting_a_run_keeps_what_loris_did_not_make(folder: RunFolder, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    checkpoint(precious, 9)
    checkpoint(folder.checkpoints, 1)
    for path in (folder.adapter, folder.exports / "merged_16bit", folder.chats):
        path.mkdir(parents=True)
    (folder.adapter / "weights").write_text("w")
    manifest.write_manifest(folder.adapter)
    (folder.chats / "2026-11-23-140500.jsonl").write_text("{}\n")
    (folder.exports / "merged_16bit" / "weights").write_text("w")
    write_checksums(folder.exports / "merged_16bit", lambda *_: None)  # as an older Loris left it
    made = ev.Exported(kind="merged_16bit", path=str(folder.exports / "merged_16bit"), total_bytes=1, seconds=1)
    folder.events.write_bytes(ev.encode(made))
    for file in (folder.log, folder.lock, folder.label):
        file.touch()
    (folder.exports / "mine").mkdir()
    (folder.exports / "mine" / "thesis.pdf").write_text("mine")
    write_checksums(folder.exports / "mine", lambda *_: None)
    mine = [folder.exports / "mine" / "thesis.pdf", folder.exports / "mine" / "SHA256SUMS"]
    mine += [folder.path / "thesis.pdf", folder.exports / "merged_16bit" / "notes", folder.chats / "notes"]
    for path in mine[2:]:
        path.write_text("mine")
    (folder.path / "linked").symlink_to(precious)
    assert is_export(folder.exports / "merged_16bit")
    assert not is_export(folder.exports / "mine"), "with checksums of the user's own"
    left = delete_run(folder)
    assert [path.name for path in left] == ["chats", "exports", "linked", "thesis.pdf"]
    assert sorted(path for path in folder.path.rglob("*") if path.is_file()) == sorted(mine)
    assert (precious / "checkpoint-9" / "weights").exists()
    assert list_runs() == []


def test_deleting_a_run_leaves_nothing_of_its_own(folder: RunFolder) -> None:
    checkpoint(folder.checkpoints, 1)
    folder.exports.mkdir()
    assert delete_run(folder) == []
    assert not folder.path.exists()


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "folder"])
def test_own_files_are_opened_without_following_links(tmp_path: Path, kind: str) -> None:
    target, path = tmp_path / "bashrc", tmp_path / "engine.log"
    match kind:
        case "link":
            target.write_text("mine")
            path.symlink_to(target)
        case "dangling":
            path.symlink_to(target)
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
    for flags in (os.O_RDONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
        with pytest.raises(OSError, match=r"engine\.log|No such device|directory"):
            os.close(open_file(path, flags))
    assert target.exists() == (kind == "link")
    assert not target.exists() or target.read_text() == "mine"


def test_what_is_set_aside_takes_no_name_that_is_taken(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "it").write_text(str(number))
        set_aside(tmp_path / "it")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "it.before": "0", "it.before-2": "1", "it.before-3": "2",
    }  # fmt: skip
