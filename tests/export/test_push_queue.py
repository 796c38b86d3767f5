"""The engine's own side of a push: what is pushed when no folder is given, and when it is answered."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from engine.export.push_queue import PushQueue
from engine.protocol import events as ev
from engine.protocol.commands import AnyReply, Done, Push, Refused
from engine.runs.folder import RunFolder
from engine.runtime.control import Control, Job
from engine.runtime.event_writer import EventWriter
from tests.helpers.hub_stub import HubStub

TOKEN = "hf_MayWriteToTheStub0123456789abcd"


class Side:
    """A run folder, and the engine's `PushQueue` for it."""

    def __init__(self, folder: RunFolder, hub: HubStub) -> None:
        self.folder, self.hub = folder, hub
        self.record = EventWriter(folder.events)
        self.control = Control(self.record)
        self.pushes = PushQueue(folder, "base", self.control)
        self.answers: queue.SimpleQueue[tuple[AnyReply, bool]] = queue.SimpleQueue()

    def saved(self, path: Path, *quantizations: str) -> None:
        path.mkdir(parents=True)
        (path / "m.gguf").write_bytes(b"GGUF" + path.name.encode() + bytes(40))
        event = ev.Exported(kind="gguf", path=str(path), total_bytes=9, seconds=1, quantizations=quantizations)
        self.record.emit(event)

    def push(self, repo_id: str = "mine") -> Done | Refused:
        command = Push(id=1, kind="gguf", repo_id=repo_id, token=TOKEN, card="# Card\n")
        job = Job(command, lambda reply: self.answers.put((reply, self.pushes.running)), self)
        self.control.submit(job)
        self.pushes.start(job, command)
        reply, still_going = self.answers.get(timeout=60)
        assert isinstance(reply, Done | Refused)
        assert not still_going, "it is answered while it goes on: another push would be refused"
        return reply


@pytest.fixture
def side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Side]:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    save_spec(folder.spec, RunSpec())
    with HubStub() as hub:
        hub.patch_process(monkeypatch, tmp_path / "hf")
        hub.account(TOKEN)
        yield Side(folder, hub)


def test_without_a_folder_the_last_export_is_pushed(side: Side, tmp_path: Path) -> None:
    side.saved(side.folder.exports / "gguf-q4_k_m", "q4_k_m")
    side.saved(tmp_path / "drive" / "gguf-q8_0", "q8_0")
    reply = side.push()
    assert isinstance(reply, Done), reply
    assert b"gguf-q8_0" in side.hub.repos["model", "ann/mine"].files["m.gguf"]
    (tmp_path / "drive").rename(tmp_path / "taken-along")  # then the export before it is used
    assert isinstance(side.push("other"), Done)
    assert b"gguf-q4_k_m" in side.hub.repos["model", "ann/other"].files["m.gguf"]


def test_what_was_not_exported_is_not_pushed(side: Side) -> None:
    reply = side.push()
    assert isinstance(reply, Refused)
    assert (reply.code, reply.field) == ("push_missing", "path")
    assert "export it first" in str(reply.message)
    assert not side.hub.requests
