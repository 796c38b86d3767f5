"""What decides whether a run can be resumed, for the list and the live screen alike."""

from __future__ import annotations

import pytest

from engine.client.engine_client import EngineClient
from engine.protocol import events as ev
from engine.protocol.state import fold
from engine.runs.folder import RunFolder
from engine.runs.manifest import write_manifest
from engine.runs.resumable import is_resumable
from engine.runs.run_list import summarise
from tests.helpers import fake_run
from tests.helpers.fake_run import FakeBackend

ENDED = [ev.EngineEnded(exit_code=0)]


@pytest.mark.parametrize(
    ("events", "checkpoint", "can"),
    [
        (fake_run.training(7), None, True),
        (fake_run.failed(), None, True),
        ([*fake_run.finished(), *ENDED], 60, False),
        ([*fake_run.finished("stopped", 20), *ENDED], 20, True),
        ([*fake_run.finished("stopped", 20), *ENDED], None, False),
        ([*fake_run.finished(), *fake_run.training(7)], 60, True),  # resumed for more steps, and interrupted
        ([], None, True),  # its engine never wrote an event
    ],
)
def test_is_resumable(events: list[ev.AnyEvent], checkpoint: int | None, can: bool) -> None:
    state = fold(events)
    assert is_resumable(state, state.trained, checkpoint) == can


def test_run_with_a_damaged_adapter_can_be_resumed(folder: RunFolder) -> None:
    folder.events.write_bytes(b"".join(map(ev.encode, [*fake_run.finished(), *ENDED])))
    folder.adapter.mkdir()
    (folder.adapter / "adapter_config.json").write_text("{}")
    write_manifest(folder.adapter)
    live = EngineClient(FakeBackend(alive=False))
    live.attach(folder)
    live.state = fold([*fake_run.finished(), *ENDED])
    assert not summarise(folder).resumable
    assert not live.is_resumable(None)
    (folder.adapter / "adapter_config.json").write_text("{} ")
    assert summarise(folder).resumable
    assert live.is_resumable(None)
