"""The control socket without a model: many clients, slow ones, dead ones, and the socket's folder."""

from __future__ import annotations

import os
import socket
import stat
import time
from pathlib import Path

import pytest

from engine.config.run_spec import GenerationSpec
from engine.protocol import commands as co
from engine.runtime import server
from engine.runtime.control import Control, Job
from engine.runtime.event_writer import EventWriter
from engine.runtime.server import Server
from tests.helpers.waiting import wait_for


@pytest.fixture
def control(tmp_path: Path) -> Control:
    record = EventWriter(tmp_path / "events.jsonl")
    record.enter("serving")
    return Control(record)


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(path))
    return client


def generate(number: int) -> bytes:
    message = (co.ChatMessage("user", "Hi"),)
    command = co.Generate(id=number, messages=message, adapter=True, generation=GenerationSpec())
    return co.encode(command) + b"\n"


def job_of(control: Control) -> Job:
    job = control.next_job(5)
    assert job is not None
    return job


def test_only_the_owner_can_open_the_socket(path: Path) -> None:
    assert stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0


def test_folder_open_to_others_is_refused(tmp_path: Path, control: Control) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(PermissionError, match="can be opened by others"):
        Server(tmp_path / "open/engine.sock", control)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="does not belong"):
        Server(tmp_path / "link/engine.sock", control)


def test_stale_socket_is_replaced(tmp_path: Path, control: Control) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "private/engine.sock"))
    stale.close()
    server = Server(tmp_path / "private/engine.sock", control)
    connect(tmp_path / "private/engine.sock").close()
    server.close()


def test_client_that_does_not_read_blocks_nobody(
    path: Path, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = connect(path), connect(path)
    slow.sendall(generate(1))
    job = job_of(control)
    started = time.monotonic()
    for _ in range(50_000):
        job.reply(co.Token(id=1, text="x" * 100))
    assert time.monotonic() - started < 5
    quick.sendall(generate(2))
    other = job_of(control)
    other.reply(co.Done(id=2))
    assert co.decode_reply(quick.makefile("rb").readline()) == co.Done(id=2)
    wait_for(job.cancelled.is_set, 5, "its request is cancelled")


def test_answer_is_cancelled_when_its_client_disconnects(path: Path, control: Control) -> None:
    client = connect(path)
    client.sendall(generate(1))
    job = job_of(control)
    assert control.idle_seconds == 0
    client.close()
    assert job.cancelled.wait(5)
    wait_for(lambda: control.idle_seconds > 0, 5)


def test_client_can_cancel_only_its_own_answers(path: Path, control: Control) -> None:
    mine, other = connect(path), connect(path)
    mine.sendall(generate(1))
    job = job_of(control)
    other.sendall(co.encode(co.Cancel(id=5, target=1)) + b"\n")
    refused = co.decode_reply(other.makefile("rb").readline())
    assert isinstance(refused, co.Refused)
    assert not job.cancelled.is_set()
    mine.sendall(co.encode(co.Cancel(id=2, target=1)) + b"\n")
    assert co.decode_reply(mine.makefile("rb").readline()) == co.Done(id=2)
    assert job.cancelled.is_set()


def test_long_line_is_skipped_and_the_next_is_read(path: Path, control: Control) -> None:
    client = connect(path)
    lines = client.makefile("rb")
    for extra in (0, 1, 2, 5_000_000):
        client.sendall(b"x" * (co.MAX_REQUEST_BYTES + extra) + b"\n" + b'{"type":"Stop","id":3}\n')
        first, second = (co.decode_reply(lines.readline()) for _ in range(2))
        assert isinstance(first, co.Refused)
        assert first.code == "too_long"
        assert second.id == 3


def test_too_many_clients_are_disconnected(path: Path) -> None:
    clients = [connect(path) for _ in range(server.MAX_CLIENTS)]
    time.sleep(0.2)
    extra = connect(path)
    assert extra.recv(1) == b""
    for client in clients:
        client.close()


def test_queued_requests_are_refused_at_exit(path: Path, control: Control) -> None:
    client = connect(path)
    client.sendall(generate(1))
    job_of(control)
    control.refuse_all()
    reply = co.decode_reply(client.makefile("rb").readline())
    assert isinstance(reply, co.Refused)
    assert reply.code == "ending"
