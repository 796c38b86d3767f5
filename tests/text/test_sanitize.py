"""Hostile text from models, data, logs and messages: shown literally, never interpreted, in every pane."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest
from rich.segment import Segment
from textual.color import Color

from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import AnyReply, Command, Done, Generate, Refused, Token
from tests.helpers import fake_run
from tests.helpers.chat_screen import idle
from tests.helpers.fake_run import FakeBackend, app_on, screen_text
from tests.helpers.pty_terminal import Terminal
from tests.helpers.waiting import shown, still, until
from tui.app import LorisApp
from tui.text.sanitize import VisibleFilter, visible

EVIL = (
    "[red]x[/] [/nope] <think>List<int> \x1b]0;pwned\x07 \x9b31m \x90q\x9c a\u202eb \x7f $primary "
    "[@click=app.quit]c[/]"
)
SHOWN = "[red]x[/] [/nope] <think>List<int> ␛]0;pwned␇"
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(params=[True, False], ids=["both layers", "first layer alone"])
def layers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer must work without the other."""
    if not request.param:
        monkeypatch.setattr(VisibleFilter, "apply", lambda _self, segments, _background: segments)


def evil_run() -> list[ev.AnyEvent]:
    """A complete run in which every text is hostile."""
    events = fake_run.finished()
    evil = []
    for event in events:
        match event:
            case ev.EngineStarted():
                event = msgspec.structs.replace(event, hostname=EVIL, versions={"torch": EVIL})
            case ev.ModelLoaded():
                device = msgspec.structs.replace(event.device, name=EVIL)
                event = msgspec.structs.replace(event, model_name=EVIL, device=device)
            case ev.Notice():
                event = msgspec.structs.replace(event, message=say("{asked} is not there.", asked=EVIL))
            case ev.DatasetReady():
                event = msgspec.structs.replace(
                    event, example_raw=EVIL, example_text=EVIL, example_learned=EVIL, instruction_part=EVIL,
                    columns=(EVIL,),
                )  # fmt: skip
            case ev.TrainingStarted():
                event = msgspec.structs.replace(event, optim=EVIL)
            case ev.Answered():
                event = msgspec.structs.replace(event, prompt=EVIL, answer=EVIL)
            case ev.TrainingFinished():
                event = msgspec.structs.replace(event, device=msgspec.structs.replace(event.device, name=EVIL))
            case ev.Exported():
                event = msgspec.structs.replace(event, path=f"/tmp/{EVIL}")
        evil.append(event)
    return evil


EVIL_SPEC = msgspec.structs.replace(
    fake_run.SPEC, name=EVIL, model=msgspec.structs.replace(fake_run.SPEC.model, model_name=EVIL)
)


def clean(app: LorisApp) -> str:
    """The screen's text, after checking that nothing in it can be interpreted."""
    text = screen_text(app)
    assert not FORBIDDEN.search(text.replace("\n", "")), FORBIDDEN.findall(text)
    return text


@pytest.mark.usefixtures("layers")
@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_every_pane_of_a_run_shows_it_literally(size: tuple[int, int]) -> None:
    app = app_on("live", FakeBackend(), evil_run(), [EVIL], spec=EVIL_SPEC)
    async with app.run_test(size=size) as pilot:
        await shown(pilot, "[red]x")
        for key in "123456":
            await pilot.press(key, "end")
            await still(pilot)
            assert "[red]x[/] [/nope] <think>" in clean(app), key
        await pilot.press("1")
        await until(pilot, lambda: SHOWN in clean(app))


@pytest.mark.usefixtures("layers")
async def test_a_failure_shows_it_literally() -> None:
    failed = ev.Failed(code="x", message=say("Cause: {a}", a=EVIL), hint=say("Hint: {a}", a=EVIL), stage="training")
    backend = FakeBackend(alive=False)
    app = app_on("live", backend, [*fake_run.training(3), failed, ev.EngineEnded(exit_code=1)], [EVIL])
    async with app.run_test(size=(120, 36)) as pilot:
        await shown(pilot, "Cause: ")
        text = clean(app)
        assert "Cause: " + SHOWN in text
        assert "Hint: " + SHOWN in text


@pytest.mark.usefixtures("layers")
async def test_chat_shows_it_literally() -> None:
    async def evil(command: Command) -> AsyncGenerator[AnyReply, None]:
        assert isinstance(command, Generate)
        for character in EVIL:
            yield Token(id=1, text=character)
        yield (
            Done(id=1, tokens=9, seconds=1, finish_reason="eos")
            if command.adapter
            else Refused(id=1, code="x", message=say("No: {a}", a=EVIL))
        )

    app = app_on("chat", FakeBackend(answer=evil), evil_run(), spec=EVIL_SPEC)
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        app.screen.query_one("#prompt").value = EVIL  # type: ignore[attr-defined]
        await pilot.press("ctrl+r")
        await until(pilot, idle(pilot))
        await until(pilot, lambda: clean(app).count("<think>") >= 3)
        text = clean(app)
        assert "» [red]x[/]" in text
        assert text.count("<think>") >= 3


@pytest.mark.usefixtures("layers")
async def test_the_export_screen_shows_it_literally() -> None:
    async def refuses(command: Command) -> AsyncGenerator[AnyReply, None]:
        yield Refused(id=1, code="x", message=say("No: {a}", a=EVIL))

    app = app_on("save", FakeBackend(answer=refuses), evil_run(), spec=EVIL_SPEC)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "No: [red]x[/]" in screen_text(app))
        clean(app)


def test_raw_bytes_contain_no_foreign_sequence(tmp_path: Path) -> None:
    """The real output of the process, on a terminal of its own."""
    script = tmp_path / "app.py"
    script.write_text(
        textwrap.dedent(
            """
            from tests.text.test_sanitize import EVIL, EVIL_SPEC, evil_run
            from tests.helpers.fake_run import FakeBackend, app_on
            app_on("live", FakeBackend(), evil_run(), [EVIL] * 3, spec=EVIL_SPEC).run()
            """
        )
    )
    env = {"PYTHONPATH": os.getcwd(), "LORIS_HOME": str(tmp_path)}
    terminal = Terminal([sys.executable, str(script)], 100, 40, env)
    try:
        terminal.wait_for(b"nope", 60)
        for key in b"123456":
            terminal.press(bytes([key]))
            terminal.read(0.4)
    finally:
        terminal.close()
    output = terminal.output
    assert b"\x1b]0;pwned" not in output
    assert b"pwned" in output
    text = output.decode("utf-8", "replace")
    assert not re.search("[\x80-\x9f\u202e\x7f]", text)


def test_visible_keeps_what_is_harmless() -> None:
    text = "tab\tline\nnext 你好 🦥 [x] <b>"
    assert visible(text) == text
    assert visible("a\r\nb") == "a\nb"
    assert visible("\x1b[31m\x00\x7f\x85\u202e\ud800") == "␛[31m␀␡���"


def test_filter_changes_only_lines_that_need_it() -> None:
    plain = [Segment("fine")]
    assert VisibleFilter().apply(plain, Color(0, 0, 0)) is plain
    assert VisibleFilter().apply([Segment("\x1bX")], Color(0, 0, 0))[0].text == "␛X"
