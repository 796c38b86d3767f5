"""Events: complete lines, written by one rank, kept in memory while the disk is full."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from engine.client.follow import Follower
from engine.protocol import events as ev
from engine.protocol.state import read_state
from engine.runs.folder import RunFolder
from engine.runtime import event_writer
from engine.runtime.event_writer import EventWriter


def test_events_are_kept_while_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_events_of_many_threads_are_complete_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"type":"Step","torn')
    record = EventWriter(path)
    threads = [
        threading.Thread(target=lambda: [record.emit(ev.Evaluated(step=n, eval_loss=1.0)) for n in range(200)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record.close(0)
    record.emit(ev.Evaluated(step=1, eval_loss=1.0))
    torn, *lines = path.read_bytes().splitlines()
    assert ev.decode(torn) is None
    events = [ev.decode(line) for line in lines]
    assert len(events) == 1601
    assert events[-1].__class__ is ev.EngineEnded


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    record = EventWriter(tmp_path / "events.jsonl")
    record.enter("training")
    record.close(0)
    assert record.stage == "training"
    assert not (tmp_path / "events.jsonl").exists()


def test_events_are_not_written_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "bashrc"
    target.write_text("mine")
    (tmp_path / "events.jsonl").symlink_to(target)
    with pytest.raises(OSError, match="is a link"):
        EventWriter(tmp_path / "events.jsonl")
    assert target.read_text() == "mine"
    assert list(Follower(RunFolder(tmp_path)).poll()) == []
    assert read_state(tmp_path / "events.jsonl").started is None
