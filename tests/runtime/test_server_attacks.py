"""The control socket under attack, without a model: 10,000 bad inputs, and another user of the machine."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import string
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config.run_spec import RunSpec
from engine.protocol import commands as co
from engine.runtime.control import Control
from engine.runtime.event_writer import EventWriter
from engine.runtime.server import Server
from tests.helpers.token_search import NOBODY, allowed_as

INPUTS = 10_000


@pytest.fixture
def control(tmp_path: Path) -> Control:
    record = EventWriter(tmp_path / "events.jsonl")
    record.enter("training")  # a stage in which Stop is accepted
    return Control(record)


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    until = time.monotonic() + 20
    while True:
        try:
            client.connect(str(path))
            return client
        except BlockingIOError:  # the listen queue is full
            assert time.monotonic() < until
            time.sleep(0.01)


def bad_lines(count: int) -> Iterator[bytes]:
    """Noise, broken JSON, wrong types, unknown commands, and valid commands with some bytes changed."""
    chance = random.Random(3407)
    good = [
        co.encode(command)
        for command in (
            co.Stop(id=1, mode="discard"),
            co.Train(id=2, spec=RunSpec()),
            co.Export(id=3, kind="adapter", path="/tmp/x"),
            co.Cancel(id=4, target=1),
            co.Push(id=5, kind="adapter", repo_id="a/b", token="hf_secret"),
        )
    ]
    for _ in range(count):
        match chance.randrange(6):
            case 0:
                yield chance.randbytes(chance.randrange(1, 300)).replace(b"\n", b"\0").replace(b"\r", b"\0") + b"!"
            case 1:
                yield chance.choice(good)[: chance.randrange(1, 20)]
            case 2:
                name = "".join(chance.choices(string.ascii_letters, k=8))
                yield b'{"type":"%s","id":%d}' % (name.encode(), chance.randrange(1 << 40))
            case 3:
                yield (b'{"type":"Stop","id":' + chance.choice([b'"1"', b"null", b"1.5", b"1e999", b"[]"]) + b"}")
            case 4:
                yield b'{"type":"Stop","id":1,"mode":"' + chance.choice([b"kill", b"", b"SAVE"]) + b'"}'
            case 5:
                line = bytearray(chance.choice(good))
                line[0] = chance.choice(b"[(<x\x80")
                yield bytes(line)


def test_ten_thousand_bad_inputs_do_no_harm(path: Path, control: Control, tmp_path: Path) -> None:
    client = connect(path)
    lines = client.makefile("rb")
    sent = 0
    for line in bad_lines(INPUTS):
        client.sendall(line + b"\n")
        reply = co.decode_reply(lines.readline())
        assert isinstance(reply, co.Refused), line
        assert reply.code == "malformed", (line, reply)
        sent += 1
    assert sent == INPUTS
    assert not any(
        flag.is_set()
        for flag in (control.stop, control.stop_now, control.shutdown, control.terminate, control.checkpoint)
    )
    assert control.next_job(0.1) is None, "no command was accepted"
    client.sendall(b'{"type":"Stop","id":7}\n')
    assert co.decode_reply(lines.readline()) == co.Done(id=7), "it still answers"
    assert control.stop.is_set()
    assert (tmp_path / "events.jsonl").read_bytes().count(b"\n") == 1, "no event was written"


def test_noise_without_lines_and_clients_that_vanish(path: Path, control: Control) -> None:
    chance = random.Random(1)
    for _ in range(300):
        client = connect(path)
        with contextlib.suppress(OSError):
            client.sendall(chance.randbytes(chance.randrange(1, 5000)))
        client.close()
    until = time.monotonic() + 20
    while True:
        client = connect(path)
        with contextlib.suppress(OSError):  # refused while the others are still being disconnected
            client.sendall(b'{"type":"Stop","id":1}\n')
            if line := client.makefile("rb").readline():
                break
        assert time.monotonic() < until
    assert co.decode_reply(line) == co.Done(id=1)


def connects_as(user: int, path: Path) -> bool:
    """Whether a process of this user can connect."""
    return allowed_as(user, lambda: socket.socket(socket.AF_UNIX).connect(str(path)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_cannot_connect(control: Control) -> None:
    """The folder is closed to others; so is the socket, even if the folder is open."""
    with tempfile.TemporaryDirectory(dir="/tmp") as top:
        os.chmod(top, 0o755)
        path = Path(top, "private/engine.sock")
        server = Server(path, control)
        try:
            assert connects_as(os.geteuid(), path)
            assert not connects_as(NOBODY, path)
            path.parent.chmod(0o755)
            assert not connects_as(NOBODY, path)
            path.chmod(0o777)
            assert connects_as(NOBODY, path), "this test detects a connection when there is one"
        finally:
            server.close()
