"""Who answers before and after training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.state import RunState, fold
from engine.runs.folder import RunFolder
from tests.helpers.run_events import SAVED, STARTED
from tui.screens.prompt_table import Column
from tui.state.chat_turns import ADAPTER, BASE, speaker_before, speaker_choices, speaker_name

CONTINUES = ev.Notice(code=ev.CONTINUES_ADAPTER, message=say("m"))


def session(state: RunState) -> Any:
    return SimpleNamespace(folder=RunFolder(Path("/runs/one")), state=state)


@pytest.mark.parametrize(
    ("events", "name"),
    [
        ([STARTED, SAVED], "base model"),
        ([STARTED, CONTINUES], "base model"),  # not trained yet: the base model itself can be asked
        ([STARTED, CONTINUES, SAVED], "before training"),
    ],
)
def test_before_training_an_adapter_answers_if_training_continues_from_it(
    events: list[ev.AnyEvent], name: str
) -> None:
    before = speaker_before(session(fold(events)))
    assert (before.name, before.adapter) == (name, False)
    assert speaker_choices("", before) == [(ADAPTER,), (before,), (before, ADAPTER)]
    assert BASE.name == "base model"


def test_the_table_of_prompts_names_what_answered_before_training() -> None:
    assert Column(None, False).title(fold([STARTED, SAVED])) == "base model"
    assert Column(None, False).title(fold([STARTED, CONTINUES])) == "before training"


def test_a_whole_model_answers_by_its_own_name() -> None:
    assert speaker_name(ADAPTER, whole=True) == "trained model"
    assert speaker_name(ADAPTER, whole=False) == "with the adapter"
    assert speaker_name(BASE, whole=True) == "base model"
