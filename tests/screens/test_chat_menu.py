"""The chat's menu: Markdown, copy, retry, edit, the raw prompt, other runs, transcripts, training data."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest
from textual.app import App, ComposeResult
from textual.widgets import Input
from textual.widgets._markdown import MarkdownFence

from engine.config.paths import runs_folder
from engine.config.spec_files import save_spec
from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import AnyReply, Command, Done, Generate, ShowPrompt, Token
from engine.runs.folder import RunFolder
from tests.helpers import fake_run
from tests.helpers.chat_screen import idle, speaks
from tests.helpers.fake_run import FakeBackend, app_on, screen_text
from tests.helpers.waiting import on_screen, shown, still, until
from tests.helpers.wizard_driver import at_step, type_into, wizard
from tui.screens.chat import BATCH_SECONDS, ChatScreen
from tui.screens.dataset import DatasetScreen
from tui.widgets.transcript import MarkdownText

CODE = "Use **this**:\n\n```python\ndef f() -> List<int>:\n    return []\n```\n\n<think>hm</think> 你好，世界\n"
CODE += "next line"


@pytest.fixture
def backend(tmp_path: Path) -> FakeBackend:
    (tmp_path / "run").mkdir()
    return FakeBackend(folder=RunFolder(tmp_path / "run"), answer=speaks)


async def codes(command: Command) -> AsyncGenerator[AnyReply, None]:
    for character in CODE:
        yield Token(id=1, text=character)
    yield Done(id=1, tokens=len(CODE), seconds=1.0, finish_reason="eos", prompt_tokens=20, context_tokens=2048)


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_markdown_is_laid_out_and_nothing_is_swallowed(size: tuple[int, int], backend: FakeBackend) -> None:
    backend.answer = codes
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=size) as pilot:
        await pilot.press("a", "enter")
        await until(pilot, idle(pilot))
        await until(pilot, lambda: len(app.screen.query(MarkdownFence)) == 1)
        text = await shown(pilot, "next line")
        assert "Use this:" in text
        assert "**" not in text
        assert "```" not in text
        assert "List<int>" in text
        assert "<think>hm</think> 你好，世界" in text
        lines = [line.strip(" ▐│▌") for line in text.splitlines()]
        assert "next line" in lines, "a line break of the model is kept"
        assert len(app.screen.query(MarkdownFence)) == 1
        assert f"context {20 + len(CODE)}/2048" in text


async def test_text_in_pieces_renders_like_text_at_once(backend: FakeBackend) -> None:
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        whole, pieces = MarkdownText(), MarkdownText()
        await app.screen.mount(whole, pieces)
        await whole.show(CODE)
        for end in range(1, len(CODE) + 1, 7):
            await pieces.show(CODE[:end])
        await pieces.show(CODE)
        await still(pilot)

        def blocks(widget: MarkdownText) -> list[tuple[str, str]]:
            return [(type(b).__name__, str(getattr(b, "_content", ""))) for b in widget.walk_children()]

        assert blocks(whole) == blocks(pieces)


async def test_two_hundred_tokens_a_second_cost_little(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However fast tokens come, they are drawn about eight times a second, with little processor time."""
    drawn, show = 0, MarkdownText.show

    async def counted(self: MarkdownText, text: str) -> None:
        nonlocal drawn
        drawn += 1
        await show(self, text)

    async def fast(command: Command) -> AsyncGenerator[AnyReply, None]:
        started = time.monotonic()
        for made in range(1, 601):
            yield Token(id=1, text=f"w{made} " + ("\n\n" if made % 40 == 0 else ""))
            await asyncio.sleep(max(0.0, started + made / 200 - time.monotonic()))
        yield Done(id=1, tokens=600, seconds=3.0, finish_reason="eos")

    monkeypatch.setattr(MarkdownText, "show", counted)
    backend.answer = fast
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: isinstance(app.focused, Input))
        busy, began = time.process_time(), time.monotonic()
        await pilot.press("a", "enter")
        ended = idle(pilot)
        while not ended():  # noqa: ASYNC110  not the pilot's pause, which costs more than what is measured
            await asyncio.sleep(0.05)
        busy, spent = time.process_time() - busy, time.monotonic() - began
        await until(pilot, lambda: "w600" in screen_text(app))
    assert drawn <= spent / BATCH_SECONDS + 3, "600 pieces are not 600 drawings"
    assert busy < 2.0, f"600 tokens took {busy:.1f} s of the processor"  # 0.5 s on a machine of 2026


async def test_copy_puts_the_last_answer_as_it_was_given(backend: FakeBackend) -> None:
    backend.answer = codes
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+y")
        assert app.clipboard == ""
        await pilot.press("a", "enter")
        await until(pilot, idle(pilot))
        await pilot.press("ctrl+y")
        assert app.clipboard == CODE


async def test_retry_asks_again_with_another_seed_and_forgets_the_first_answer(backend: FakeBackend) -> None:
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"who?", "enter")
        await until(pilot, idle(pilot))
        await pilot.press("ctrl+n")
        await until(pilot, lambda: len(backend.asked) == 2)
        await until(pilot, idle(pilot))
        first, second = backend.asked
        assert isinstance(first, Generate)
        assert isinstance(second, Generate)
        assert first.messages == second.messages
        assert second.generation == msgspec.structs.replace(first.generation, seed=first.generation.seed + 1)
        assert screen_text(app).count("» who?") == 1


async def test_the_last_question_can_be_edited(backend: FakeBackend) -> None:
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"who?", "enter")
        await until(pilot, idle(pilot))
        await pilot.press("up")
        await until(pilot, lambda: app.screen.query_one(Input).value == "who?")
        await pilot.press("backspace", *" are you?", "enter")
        await until(pilot, idle(pilot))
        asked = backend.asked[-1]
        assert isinstance(asked, Generate)
        assert [m.content for m in asked.messages] == ["who are you?"]


async def test_raw_prompt_is_shown_on_demand(backend: FakeBackend) -> None:
    async def shows(command: Command) -> AsyncGenerator[AnyReply, None]:
        assert isinstance(command, ShowPrompt)
        yield Done(id=1, text="<|im_start|>user\n" + command.messages[-1].content + "<|im_end|>[/nope]")

    backend.answer = shows
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"who?", "ctrl+o", "down", "down", "down", "enter")
        await until(pilot, lambda: "What the model is given" in screen_text(app))
        assert "<|im_start|>user" in screen_text(app)
        assert "who?<|im_end|>[/nope]" in screen_text(app)
        await pilot.press("escape")
        await on_screen(pilot, ChatScreen)
        assert app.screen.query_one(Input).value == "who?"


async def test_turns_are_stored_in_the_run_folder(backend: FakeBackend) -> None:
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        for question in ("who?", "really?"):
            await pilot.press(*question, "enter")
            await until(pilot, idle(pilot))
        (path,) = (backend.folder.path / "chats").iterdir()
        turns = [json.loads(line) for line in path.read_text().splitlines()]
        assert [turn["question"] for turn in turns] == ["who?", "really?"]
        assert [(a["who"], a["text"]) for a in turns[0]["answers"]] == [("adapter", "I am Loris.")]
        assert turns[0]["generation"]["temperature"] == 1.5


async def test_good_answer_becomes_training_data(backend: FakeBackend, home: Path) -> None:
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        for question in ("who?", "really?"):
            await pilot.press(*question, "enter")
            await until(pilot, idle(pilot))
        await pilot.press("ctrl+o", *["down"] * 5, "enter")
        await until(pilot, lambda: (home / "collected").exists())
        lines = (home / "collected" / "run.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [
            {
                "messages": [
                    {"role": "user", "content": "who?"},
                    {"role": "assistant", "content": "I am Loris."},
                    {"role": "user", "content": "really?"},
                    {"role": "assistant", "content": "I am Loris."},
                ]
            }
        ]


def collected_lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.is_file() else 0


async def test_collected_answers_open_as_a_dataset(backend: FakeBackend, home: Path) -> None:
    backend.answer = codes
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(120, 36)) as pilot:
        for number, question in enumerate(("who?", "你是谁？")):
            await pilot.press(*question, "enter")
            await until(pilot, idle(pilot))
            await pilot.press("ctrl+o", *["down"] * 5, "enter")
            path = home / "collected" / "run.jsonl"
            await until(pilot, lambda: collected_lines(path) == number + 1)  # noqa: B023
            await pilot.press("ctrl+l")
        assert len(path.read_text().splitlines()) == 2
        app.go("dataset")
        await until(pilot, at_step(pilot, "dataset"))
        await type_into(pilot, "dataset.path", str(path))
        seen = wizard(pilot)
        assert isinstance(seen, DatasetScreen)
        await until(pilot, lambda: seen._seen is not None and seen._seen.total == 2)
        await until(pilot, lambda: "List<int>" in screen_text(app))
        text = screen_text(app)
        assert "who?" in text
        assert "✗" not in text


async def test_another_runs_adapter_is_compared(backend: FakeBackend, home: Path) -> None:
    other = RunFolder(runs_folder() / "2026-11-24-other")
    other.adapter.mkdir(parents=True)
    save_spec(other.spec, fake_run.SPEC)
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("ctrl+o", *["down"] * 4, "enter")
        await until(pilot, lambda: "2026-11-24-other" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "Answers: with the adapter and 2026-11-24-other" in screen_text(app))
        await pilot.press(*"who?", "enter")
        await until(pilot, idle(pilot))
        asked = [(c.adapter, c.other, c.generation.seed) for c in backend.asked if isinstance(c, Generate)]
        assert asked == [(True, "", 3407), (True, str(other.path), 3407)]


async def test_answer_that_does_not_end_is_explained(backend: FakeBackend) -> None:
    async def runs_away(command: Command) -> AsyncGenerator[AnyReply, None]:
        yield Token(id=1, text="so so so so")
        yield Done(id=1, tokens=128, seconds=1, finish_reason="length", note=say("It repeats itself. Set x."))

    backend.answer = runs_away
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a", "enter")
        await until(pilot, lambda: "⚠ It repeats itself. Set x." in screen_text(app))


async def test_sampling_presets_fill_in_the_settings(backend: FakeBackend) -> None:
    app = app_on("chat", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+g")
        await until(pilot, lambda: app.screen.query("#way-precise"))
        app.screen.query_one("#way-precise").focus()
        await pilot.press("enter", "ctrl+s")
        await shown(pilot, "precise · max_new_tokens 128")
        await pilot.press("a", "enter")
        await until(pilot, idle(pilot))
        asked = backend.asked[-1]
        assert isinstance(asked, Generate)
        assert (asked.generation.temperature, asked.generation.min_p) == (0.0, 0.0)


async def test_adapter_that_was_loaded_without_training_answers(backend: FakeBackend) -> None:
    loaded = msgspec.structs.replace(fake_run.loaded()[-1], has_adapter=True)
    app = app_on("chat", backend, [*fake_run.loading(), loaded, ev.StageChanged(stage="ready")])
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"who?", "enter")
        await until(pilot, idle(pilot))
        assert "I am Loris." in screen_text(app)


async def test_a_model_whose_weights_were_all_trained_answers_alone(backend: FakeBackend) -> None:
    whole = [
        msgspec.structs.replace(event, kind="model") if isinstance(event, ev.Exported) else event
        for event in fake_run.finished()
    ]
    app = app_on("chat", backend, whole)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shown(pilot, "Answers: trained model")
        for key in ("ctrl+t", "ctrl+r"):
            await pilot.press(key)
            await shown(pilot, "All weights were trained")
        assert backend.asked == []
        await pilot.press(*"who?", "enter")
        await until(pilot, idle(pilot))
        assert "trained model  " in screen_text(app)


async def test_text_that_grows_while_it_is_laid_out_stays_whole() -> None:
    """As on a busy machine: several pieces come before the first is on the screen."""

    class Shows(App[None]):
        def compose(self) -> ComposeResult:
            yield MarkdownText()

    async with Shows().run_test() as pilot:
        text = pilot.app.query_one(MarkdownText)
        await asyncio.gather(*(text.show(CODE[:end]) for end in range(5, len(CODE) + 1)))
        await until(pilot, lambda: "next line" in screen_text(pilot.app))
        assert "def f() -> List<int>:" in screen_text(pilot.app)
        assert len(text.query(MarkdownFence)) == 1
