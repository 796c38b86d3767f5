"""After a run: a notice sent to a webhook, and a command that runs only if confirmed."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import msgspec
import pytest

from engine.config.run_spec import RunSpec
from engine.messages.message import say
from engine.protocol import events as ev
from engine.runs.consent import give_consent
from engine.runs.folder import RunFolder
from engine.runtime import after_run
from engine.runtime.event_writer import EventWriter


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """The requests received by a web server whose URL is in the environment."""
    received: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if self.path == "/broken" else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(after_run.NOTICE_URL, f"http://127.0.0.1:{server.server_port}/secret-path")
    yield received
    server.shutdown()
    server.server_close()


def notices(folder: RunFolder) -> list[ev.Notice]:
    return [e for line in folder.events.read_bytes().splitlines() if isinstance(e := ev.decode(line), ev.Notice)]


def spec_with(command: str) -> RunSpec:
    return msgspec.structs.replace(
        RunSpec(), export=msgspec.structs.replace(RunSpec().export, after_command=command)
    )


@pytest.fixture
def record(folder: RunFolder) -> EventWriter:
    folder.path.mkdir(parents=True, exist_ok=True)
    return EventWriter(folder.events)


def test_the_command_gets_the_users_environment(
    folder: RunFolder, record: EventWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the variables that the engine sets for Python processes of its libraries."""
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setenv("PYTHONUTF8", "1")
    command = 'echo "$LORIS_RUN|$PYTHONSAFEPATH$PYTHONUTF8|$HOME" > output'
    give_consent(folder, command)
    after_run.after_success(folder, spec_with(command), record)
    assert (folder.path / "output").read_text() == f"{folder.path}||{os.environ['HOME']}\n"


def test_notice_is_sent(folder: RunFolder, record: EventWriter, hook: list[dict[str, str]]):
    after_run.after_success(folder, RunSpec(), record)
    after_run.after_failure(folder, say("No room."), record)
    assert [(one["state"], one["run"]) for one in hook] == [("completed", folder.name), ("failed", folder.name)]
    assert "No room." in hook[1]["text"]
    assert [one.code for one in notices(folder)] == ["notified", "notified"]
    assert b"secret-path" not in folder.events.read_bytes()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/secret-path", "file:///etc/passwd", "secret-path", "http://[::bad/secret-path"]
)
def test_failed_notice_is_reported_without_its_url(
    folder: RunFolder, record: EventWriter, monkeypatch: pytest.MonkeyPatch, url: str
):
    monkeypatch.setenv(after_run.NOTICE_URL, url)
    monkeypatch.setattr("time.sleep", lambda _: None)
    after_run.after_success(folder, RunSpec(), record)
    assert [one.code for one in notices(folder)] == ["notice_failed"]
    assert b"secret-path" not in folder.events.read_bytes()


def test_command_runs_only_if_its_exact_text_was_confirmed(folder: RunFolder, record: EventWriter):
    made = folder.path / "made"
    after_run.after_success(folder, spec_with("touch made"), record)
    assert not made.exists()
    give_consent(folder, "touch other")
    after_run.after_success(folder, spec_with("touch made"), record)
    assert not made.exists()
    give_consent(folder, "touch made")
    after_run.after_success(folder, spec_with("touch made"), record)
    assert made.exists()
    give_consent(folder, "exit 3")
    after_run.after_success(folder, spec_with("exit 3"), record)
    found = notices(folder)
    assert [one.code for one in found] == ["after_unconfirmed"] * 2 + ["after_command"] * 2
    assert [one.level for one in found][2:] == ["info", "warning"]
    assert "3" in str(found[-1].message)


def test_command_that_does_not_end_is_killed(
    folder: RunFolder, record: EventWriter, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(after_run, "COMMAND_SECONDS", 0.2)
    give_consent(folder, "sleep 60")
    after_run.after_success(folder, spec_with("sleep 60"), record)
    assert "ended" in str(notices(folder)[0].message)
