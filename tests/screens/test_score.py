"""The screen of a reward model: what it asks the engine, what it shows, and why it cannot."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import AnyReply, Command, Done, Refused, Score
from tests.helpers import fake_run
from tests.helpers.fake_run import FakeBackend, app_on, screen_text
from tests.helpers.waiting import until
from tui.app import LorisApp
from tui.screens.export import ExportScreen
from tui.screens.live import LiveScreen
from tui.screens.score import ScoreScreen

PROMPT, ANSWER, OTHER = "Who are you?", "I am Loris.", "Nobody."


async def scores(command: Command) -> AsyncGenerator[AnyReply, None]:
    assert isinstance(command, Score)
    yield Done(id=1, scores=tuple(2.5 - 4 * number for number in range(len(command.answers))))


async def refuses(command: Command) -> AsyncGenerator[AnyReply, None]:
    yield Refused(id=1, code="prompt_too_long", message=say("Prompt and answer have too many tokens."))


def reward_run() -> list[ev.AnyEvent]:
    return [
        msgspec.structs.replace(event, scores=True) if isinstance(event, ev.ModelLoaded) else event
        for event in fake_run.finished()
        if not isinstance(event, ev.Answered)
    ]


def scoring_app(backend: FakeBackend, language: str = "en") -> LorisApp:
    return app_on("chat", backend, reward_run(), language=language)


def typed(*texts: str) -> Callable[[Pilot[Any]], Any]:
    """Type each text and press Enter, and wait for the scores."""

    async def run(pilot: Pilot[Any]) -> None:
        screen = pilot.app.screen
        assert isinstance(screen, ScoreScreen)
        for name, text in zip(("prompt", "answer", "other"), texts, strict=False):
            screen._field(name).focus()
            await pilot.press(*text)
        await pilot.press("enter")
        await until(pilot, lambda: screen._scoring is None and bool(screen.loris.session.turns))
        await pilot.pause()

    return run


async def test_two_answers_are_scored_side_by_side() -> None:
    backend = FakeBackend(answer=scores)
    app = scoring_app(backend)
    async with app.run_test(size=(120, 36)) as pilot:
        await typed(PROMPT, ANSWER, OTHER)(pilot)
        assert backend.asked == [Score(id=0, prompt=PROMPT, answers=(ANSWER, OTHER))]
        text = screen_text(app)
        assert "score 2.500  better" in text
        assert "score -1.500" in text
        await until(pilot, lambda: any(ANSWER in line and OTHER in line for line in screen_text(app).splitlines()))


async def test_enter_goes_to_what_is_missing_and_one_answer_is_enough() -> None:
    backend = FakeBackend(answer=scores)
    app = scoring_app(backend)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        assert app.focused
        assert app.focused.id == "prompt"
        await pilot.press(*PROMPT, "enter")
        assert app.focused.id == "answer"
        assert backend.asked == []
        await typed("", ANSWER)(pilot)
        assert "score 2.500" in screen_text(app)
        assert "better" not in screen_text(app).replace("is better", "")
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "score 2.500" not in screen_text(app))


async def test_a_refusal_is_shown_and_the_text_is_kept() -> None:
    app = scoring_app(FakeBackend(answer=refuses))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*PROMPT, "enter", *ANSWER, "enter")
        await until(pilot, lambda: "✗ Prompt and answer have too many tokens." in screen_text(app))
        assert ANSWER in screen_text(app)


async def test_it_leads_back_and_to_the_export() -> None:
    app = scoring_app(FakeBackend(answer=scores))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, ScoreScreen))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, ExportScreen))


@pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=["80x24", "120x36"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_picture(snap_compare: Callable[..., bool], size: tuple[int, int], language: str) -> None:
    app = scoring_app(FakeBackend(answer=scores), language)
    assert snap_compare(app, terminal_size=size, run_before=typed(PROMPT, ANSWER, OTHER))
