"""A disk that is full, and places that change between logins: nothing is lost, and the words are plain."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from engine.client.follow import Follower
from engine.protocol import events as ev
from engine.runs.folder import SOCKET_BYTES, RunFolder
from engine.runtime import event_writer
from engine.runtime.explain import explain
from tui.cli import main


def test_events_wait_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    writer = event_writer.EventWriter(folder.events)
    writer.enter("loading")
    room = 10
    write = os.write

    def full(file: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(file, data[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", full)
    writer.enter("ready")
    writer.enter("preparing")
    monkeypatch.undo()
    writer.close(0)
    stages = [event.stage for event in Follower(folder).poll() if isinstance(event, ev.StageChanged)]
    assert stages == ["loading", "ready", "preparing"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/x"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:862] . PytorchStreamWriter failed writing file data/1"),
    ],
)
def test_a_full_disk_has_many_words(error: Exception) -> None:
    assert explain(error).code == "disk_full"


def test_a_socket_is_found_from_a_login_with_another_tmpdir(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    here = folder.new_socket
    folder.socket_note.write_text(str(here))
    monkeypatch.setattr("tempfile.tempdir", "/elsewhere")
    assert folder.new_socket != here
    assert folder.socket == here


def test_a_long_tmpdir_is_no_place_for_a_socket(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", "/tmp/" + "x" * 100)
    assert len(os.fsencode(folder.new_socket)) <= SOCKET_BYTES


def test_a_log_on_a_full_disk_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    def full() -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(main, "list_presets", full)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    assert main.main(["presets"]) == 1
    assert "Nothing more can be written here: No space left on device" in capfd.readouterr().err
    monkeypatch.setattr(main._Version, "__call__", lambda *_: full())
    assert main.main(["--version"]) == 1
    assert len(capfd.readouterr().err.splitlines()) == 1
