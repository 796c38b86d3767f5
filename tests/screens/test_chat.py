"""The chat: streaming, stopping, choosing the model, comparing, and every way in which there is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from textual import events
from textual.widgets import Input

from engine.client.connection import EngineGone
from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import AnyReply, ChatMessage, Command, Done, Generate, Refused, Token
from tests.helpers import fake_run
from tests.helpers.chat_screen import idle, speaks
from tests.helpers.fake_run import FakeBackend, app_on, screen_text
from tests.helpers.waiting import on_screen, shown, until
from tui.dialogs.generation import GenerationDialog
from tui.screens.chat import ChatScreen
from tui.screens.live import LiveScreen
from tui.state.chat_turns import ADAPTER, BASE, messages_for
from tui.state.run_session import Answer, Turn
from tui.widgets.transcript import AnswerView

SIZES = [(80, 24), (120, 36)]


async def endless(command: Command) -> AsyncGenerator[AnyReply, None]:
    number = 0
    while True:
        number += 1
        yield Token(id=1, text=f"word{number} ")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("size", SIZES)
async def test_answer_is_streamed_with_its_speed(size: tuple[int, int]) -> None:
    backend = FakeBackend(answer=speaks)
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=size) as pilot:
        await pilot.press(*"who?", "enter")
        await until(pilot, idle(pilot))
        text = screen_text(app)
        assert "» who?" in text
        assert "with the adapter  4 tokens · 20.0 tokens/s" in text
        assert "I am Loris." in text
        assert backend.asked == [
            Generate(
                id=0, messages=(ChatMessage("user", "who?"),), adapter=True, generation=fake_run.SPEC.generation
            )
        ]


async def test_conversation_continues_and_can_be_cleared() -> None:
    backend = FakeBackend(answer=speaks)
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        for question in ("who?", "really?"):
            await pilot.press(*question, "enter")
            await until(pilot, idle(pilot))
        sent = backend.asked[-1]
        assert isinstance(sent, Generate)
        assert [m.content for m in sent.messages] == ["who?", "I am Loris.", "really?"]
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "I am Loris." not in screen_text(app))
        await pilot.press(*"again", "enter")
        await until(pilot, idle(pilot))
        sent = backend.asked[-1]
        assert isinstance(sent, Generate)
        assert [m.content for m in sent.messages] == ["again"]


async def test_escape_stops_the_answer_and_closes_the_request() -> None:
    backend = FakeBackend(answer=endless)
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"go", "enter")
        await until(pilot, lambda: "word5" in screen_text(app))
        await pilot.press(*"next")  # typing works meanwhile
        await pilot.press("enter")
        assert len(backend.asked) == 1
        await pilot.press("escape")
        await until(pilot, idle(pilot))
        assert backend.closed == backend.asked
        assert "stopped" in screen_text(app)
        assert app.screen.query_one(Input).value == "next"
        backend.answer = speaks
        await pilot.press("enter")
        await until(pilot, idle(pilot))
        assert "I am Loris." in screen_text(app)


async def test_leaving_the_screen_stops_the_answer_and_keeps_the_conversation() -> None:
    backend = FakeBackend(answer=endless)
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"go", "enter")
        await until(pilot, lambda: "word5" in screen_text(app))
        app.go("live")
        await until(pilot, lambda: backend.closed == backend.asked)
        assert isinstance(app.screen, LiveScreen)
        app.go("chat")
        await shown(pilot, "word5")


async def test_who_answers_is_switched_and_shown() -> None:
    backend = FakeBackend(answer=speaks)
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "Answers: with the adapter")
        await pilot.press("ctrl+t")
        await shown(pilot, "Answers: base model")
        await pilot.press(*"who?", "enter")
        await until(pilot, idle(pilot))
        assert "I am Llama." in screen_text(app)
        await pilot.press("ctrl+t")
        await shown(pilot, "Answers: both, to compare")


@pytest.mark.parametrize(("size", "beside"), [((80, 24), False), ((120, 36), True)])
async def test_compare_asks_both_and_shows_both(size: tuple[int, int], beside: bool) -> None:
    backend = FakeBackend(answer=speaks)
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=size) as pilot:
        await pilot.press(*"who?", "ctrl+r")
        await until(pilot, idle(pilot))
        text = await shown(pilot, "I am Llama.")
        assert "I am Loris." in text
        base, adapter = (view.region for view in app.screen.query(AnswerView))
        assert (base.y == adapter.y) is beside
        assert (base.x == adapter.x) is not beside


async def test_compare_again_uses_the_last_question() -> None:
    backend = FakeBackend(answer=speaks)
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"who?", "enter")
        await until(pilot, idle(pilot))
        await pilot.press("ctrl+r")
        await until(pilot, idle(pilot))
        assert [(c.messages[-1].content, c.adapter) for c in backend.asked if isinstance(c, Generate)] == [
            ("who?", True), ("who?", False), ("who?", True),
        ]  # fmt: skip


async def test_before_training_only_the_base_answers_and_the_question_waits_for_the_model() -> None:
    backend = FakeBackend(answer=speaks)
    app = app_on("chat", backend, fake_run.loading())
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("ctrl+t")
        await shown(pilot, "There is no adapter yet")
        await pilot.press(*"who?", "enter")
        await until(pilot, lambda: "the model is loading" in screen_text(app))
        assert "Your question is kept" in screen_text(app)
        assert backend.asked == []
        backend.feed([*fake_run.loaded()[2:], ev.StageChanged(stage="ready")])
        await shown(pilot, "I am Llama.")


async def test_waiting_can_be_cancelled() -> None:
    app = app_on("chat", FakeBackend(answer=speaks), fake_run.loading())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"who?", "enter")
        await until(pilot, lambda: "the model is loading" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, idle(pilot))
        assert "stopped" in screen_text(app)


async def test_earlier_run_is_started_again_for_the_question() -> None:
    backend = FakeBackend(answer=speaks, alive=False)
    app = app_on("chat", backend, [*fake_run.finished(), ev.EngineEnded(exit_code=0)])
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "starts with your first question")
        await pilot.press(*"who?", "enter")
        await until(pilot, lambda: backend.launched == ["serve"])
        backend.feed(fake_run.loading())
        await until(pilot, lambda: "the model is loading" in screen_text(app))
        backend.feed([ev.StageChanged(stage="serving")])
        await until(pilot, idle(pilot))
        assert "I am Loris." in screen_text(app)


async def test_failure_to_load_is_shown_and_one_can_ask_again() -> None:
    backend = FakeBackend(answer=speaks, alive=False)
    app = app_on("chat", backend, [*fake_run.finished(), ev.EngineEnded(exit_code=0)])
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"who?", "enter")
        await until(pilot, lambda: backend.launched == ["serve"])
        gone = ev.Failed(code="x", message=say("The model's files are gone."), stage="loading")
        backend.feed([*fake_run.loading(), gone, ev.EngineEnded(exit_code=1)])
        backend.alive = False
        await until(pilot, idle(pilot))
        assert "✗ The model's files are gone." in screen_text(app)


async def test_run_without_engine_or_adapter_says_so() -> None:
    app = app_on("chat", FakeBackend(alive=False), fake_run.training(5))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"who?", "enter")
        await until(pilot, idle(pilot))
        assert "No engine is running" in screen_text(app)


async def test_a_refusal_and_a_dead_engine_are_lines_and_the_input_still_works() -> None:
    async def refuses(command: Command) -> AsyncGenerator[AnyReply, None]:
        yield Refused(id=1, code="busy", message=say("The model is being trained."))

    async def dies(command: Command) -> AsyncGenerator[AnyReply, None]:
        yield Token(id=1, text="half an ans")
        raise EngineGone("engine_gone", say("The engine ended before it answered."))

    backend = FakeBackend(answer=refuses)
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a", "enter")
        await until(pilot, idle(pilot))
        assert "✗ The model is being trained." in screen_text(app)
        backend.answer = dies
        await pilot.press("b", "enter")
        await until(pilot, idle(pilot))
        assert "✗ The engine ended before" in screen_text(app)
        assert "half an ans" in screen_text(app)
        backend.answer = speaks
        await pilot.press("c", "enter")
        await until(pilot, idle(pilot))
        assert "I am Loris." in screen_text(app)


async def test_cut_answers_are_marked() -> None:
    async def cut(command: Command) -> AsyncGenerator[AnyReply, None]:
        yield Token(id=1, text="and so on")
        yield Done(id=1, tokens=128, seconds=2.0, finish_reason="length")

    app = app_on("chat", FakeBackend(answer=cut), fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a", "enter")
        await until(pilot, idle(pilot))
        assert "cut at 128 tokens" in screen_text(app)


async def test_settings_are_checked_and_used() -> None:
    backend = FakeBackend(answer=speaks)
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+g")
        await on_screen(pilot, GenerationDialog)
        await pilot.press("end", *["backspace"] * 3, *"0", "ctrl+s")
        await shown(pilot, "Give a whole number from 1")
        assert isinstance(app.screen, GenerationDialog)
        await pilot.press("backspace", *"32", "ctrl+s")
        await on_screen(pilot, ChatScreen)
        assert "max_new_tokens 32" in screen_text(app)
        await pilot.press("a", "enter")
        await until(pilot, idle(pilot))
        sent = backend.asked[-1]
        assert isinstance(sent, Generate)
        assert sent.generation.max_new_tokens == 32


async def test_new_text_does_not_scroll_away_from_what_is_read() -> None:
    backend = FakeBackend(answer=endless)
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"go", "enter")
        await until(pilot, lambda: "word300" in screen_text(app))
        await pilot.press("pageup", "pageup", "pageup")
        await pilot.pause(0.2)  # the screen never settles: the answer continues
        top = screen_text(app).splitlines()[6]
        await pilot.pause(0.5)  # dozens of words arrive
        assert screen_text(app).splitlines()[6] == top
        await pilot.press("escape")


def test_each_model_sees_its_own_answers() -> None:
    turns = (
        Turn("a", [Answer(False, "base"), Answer(True, "mine")]),
        Turn("b", [Answer(False, "", failed=True)]),
        Turn("c", [Answer(False, "only base")]),
    )
    assert [m.content for m in messages_for(turns, Turn("d", []), ADAPTER)] == ["a", "mine", "c", "only base", "d"]
    assert [m.content for m in messages_for(turns, Turn("d", []), BASE)] == ["a", "base", "c", "only base", "d"]


async def test_escape_just_after_an_answer_does_not_leave() -> None:
    app = app_on("chat", FakeBackend(answer=speaks), fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a", "enter")
        await until(pilot, idle(pilot))
        await pilot.press("escape")
        await pilot.pause(0.8)
        assert isinstance(app.screen, ChatScreen)
        await pilot.press("escape")
        await on_screen(pilot, LiveScreen)


async def test_question_waits_for_the_new_engine_where_the_old_one_was_killed() -> None:
    backend = FakeBackend(answer=speaks, alive=False)
    app = app_on("chat", backend, fake_run.finished())  # its last event says that it serves
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"who?", "enter")
        await until(pilot, lambda: backend.launched == ["serve"])
        await shown(pilot, "the engine is starting")
        await pilot.pause(0.5)
        assert backend.asked == []
        await pilot.press("escape")  # cancelled, and asked again: no second engine
        await until(pilot, idle(pilot))
        await pilot.press(*"who?", "enter")
        await pilot.pause(0.3)
        assert backend.launched == ["serve"]
        backend.feed([*fake_run.loading(), ev.StageChanged(stage="serving")])
        await until(pilot, idle(pilot))
        assert "I am Loris." in screen_text(app)


async def test_settings_typed_in_one_burst_are_used() -> None:
    app = app_on("chat", FakeBackend(answer=speaks), fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+g")
        await on_screen(pilot, GenerationDialog)
        for key in ("9", "9", "ctrl+s"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await shown(pilot, "max_new_tokens 12899")


async def test_instruction_and_input_are_asked_of_a_model_trained_on_both() -> None:
    """The notebooks ask "Continue the fibonacci sequence." with "1, 1, 2, 3, 5, 8"."""
    backend = FakeBackend(answer=speaks)
    app = app_on("chat", backend, fake_run.trained_on_pairs(fake_run.finished()))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"go on", "tab", *"1, 1, 2", "enter")
        await until(pilot, idle(pilot))
        assert "» go on" in screen_text(app)
        assert "1, 1, 2" in screen_text(app)
        assert app.screen.query_one("#prompt", Input).has_focus
        assert app.screen.query_one("#input", Input).value == ""
        sent = backend.asked[-1]
        assert isinstance(sent, Generate)
        assert sent.messages == (ChatMessage("user", "go on", "1, 1, 2"),)
        await pilot.press("up")
        assert app.screen.query_one("#input", Input).value == "1, 1, 2"


async def test_a_model_trained_on_chats_is_asked_without_an_input() -> None:
    app = app_on("chat", FakeBackend(answer=speaks), fake_run.finished())
    async with app.run_test(size=(80, 24)):
        assert not app.screen.query_one("#input", Input).display
