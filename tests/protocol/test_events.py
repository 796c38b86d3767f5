"""Events are the same after writing and reading; invalid lines are skipped."""

from __future__ import annotations

import pytest

from engine.config.change import Change
from engine.messages.message import say
from engine.protocol import events as ev
from tests.helpers.every_event import ONE_OF_EACH


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda e: type(e).__name__)
def test_events_are_read_back_as_written(event: ev.AnyEvent):
    line = ev.encode(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert ev.decode(line) == event


def test_every_event_is_covered():
    assert {type(e) for e in ONE_OF_EACH} == set(ev.AnyEvent.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b'{"type":"FromTheFuture","x":1}', b'{"type":"Step"}', b"[]", b"\xff\xfe", b'{"pid":1}', b"null"],
)
def test_invalid_lines_are_skipped(line: bytes):
    assert ev.decode(line) is None


def test_fields_of_a_newer_loris_are_ignored():
    assert ev.decode(b'{"type":"StageChanged","stage":"ready","colour":"red"}') == ev.StageChanged(stage="ready")


def test_an_event_that_names_a_file_that_is_not_utf8_is_not_lost():
    """As in an error of the system: the engine would end without a word."""
    change = Change(field="model.model_name", value="\udcd3")
    failed = ev.Failed(code="c", message=say("{path}: gone", path="/\udcd3\udcc3/x"), changes=(change,))
    found = ev.decode(ev.encode(failed))
    assert isinstance(found, ev.Failed)
    assert str(found.message) == "/??/x: gone"
