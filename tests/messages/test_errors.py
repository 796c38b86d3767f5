"""The user's errors: their fields, pickled between processes, in events and on the command line."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from engine.client.connection import CommandRefused, EngineGone
from engine.config.change import Change
from engine.config.fields import FieldError
from engine.config.oom_fallback import OutOfMemory
from engine.config.spec_error import SpecError
from engine.dataset.row_file import DataError
from engine.hub.errors import HubError
from engine.messages.errors import UserError, causes, last_line
from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import Refused
from tui.text.errors import fail

MESSAGE, HINT = say("No {thing}.", thing="model"), say("Name one.")
CHANGE = Change(field="training.per_device_train_batch_size", value=1)


def out_of_memory() -> OutOfMemory:
    error = OutOfMemory("out_of_memory", MESSAGE, HINT)
    error.changes = (CHANGE,)
    return error


ERRORS = [
    UserError("no_model", MESSAGE, HINT, "model.model_name"),
    out_of_memory(),
    HubError("hub_busy", MESSAGE, HINT, "token", retryable=True, wait=3.0),
    SpecError(Path("a.yaml"), [FieldError("name", MESSAGE, 3), FieldError("", HINT)]),
    DataError(MESSAGE, "dataset_empty"),
    EngineGone("engine_gone", MESSAGE),
    CommandRefused("busy", MESSAGE, field="path"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling(error: UserError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert (str(again), again.exit_code) == (str(error), error.exit_code)


def test_the_text_of_an_error_is_its_message() -> None:
    assert [str(error) for error in ERRORS[:3]] == ["No model."] * 3
    assert str(ERRORS[3]) == "a.yaml:3: name: No model.\na.yaml: Name one."


def test_an_error_with_a_field_exits_with_bad_input() -> None:
    assert UserError("x", MESSAGE).exit_code == 1
    assert UserError("x", MESSAGE, field="model.model_name").exit_code == 2
    assert SpecError(None, [FieldError("", MESSAGE)]).exit_code == 2, "an invalid spec file is bad input too"


def test_events_and_replies_carry_all_fields() -> None:
    assert ev.Failed.of(ERRORS[0], "loading") == ev.Failed(
        code="no_model", message=MESSAGE, hint=HINT, field="model.model_name", stage="loading"
    )
    assert ev.Failed.of(ERRORS[1], "training").changes == (CHANGE,)
    assert Refused.of(7, ERRORS[0]) == Refused(id=7, code="no_model", message=MESSAGE, field="model.model_name")


@pytest.mark.parametrize(
    ("error", "code", "start"),
    [
        (UserError("x", MESSAGE, HINT), 1, "No model. Name one.\n"),
        (UserError("x", MESSAGE, field="run"), 2, "No model.\n"),
        (UserError("x", say("Not \x1b[31m1.5"), field="--top-p"), 2, "--top-p: Not "),
        (ERRORS[3], 2, "a.yaml:3: name: No model.\na.yaml: Name one.\n"),
        (SpecError(None, [FieldError("name", MESSAGE)]), 2, "given.yaml: name: No model.\n"),
    ],
)
def test_errors_on_the_command_line(
    error: UserError, code: int, start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = error.path or Path("given.yaml") if isinstance(error, SpecError) else None
    assert fail(error, path) == code
    printed = capsys.readouterr().err
    assert printed.startswith(start)
    assert "\x1b" not in printed


def test_causes_of_a_cycle_end() -> None:
    one, two = ValueError("one"), KeyError("two")
    one.__cause__, two.__context__ = two, one
    assert list(causes(one)) == [one, two]


def test_the_last_line() -> None:
    assert last_line(ValueError("first\n\n last \n")) == "ValueError: last"
    assert last_line(KeyError()) == "KeyError"
    assert len(last_line(ValueError("x" * 400))) == 300
