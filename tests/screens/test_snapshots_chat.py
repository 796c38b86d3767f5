"""Pictures of the chat, export and push screens, in both languages and sizes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.export.build_llama_cpp import Requirements
from engine.export.llama_cpp import LlamaCpp, missing
from engine.hub.upload_errors import WRITE_HINT
from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import AnyReply, Command, Done, ExportProgress, Generate, ShowPrompt, Token
from engine.runs.folder import RunFolder
from tests.helpers import fake_run
from tests.helpers.fake_run import FakeBackend, app_on
from tests.helpers.waiting import shown, still

pytestmark = [
    pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=["80x24", "120x36"]),
    pytest.mark.parametrize("language", ["en", "zh"]),
]
Compare = Callable[..., bool]
Size = tuple[int, int]
SAID = "Use **this**, with `care`:\n\n```python\ndef f() -> List<int>:\n    return []\n```\n\n- 你好，世界\n"
SAID += "- <think>\n"
GGUF = ev.Exported(
    kind="gguf", path="/data/loris/runs/demo/exports/gguf-q4_k_m", total_bytes=2 * 10**9, seconds=80,
    quantizations=("q4_k_m",), verified=say("Loaded back: it answers."),
)  # fmt: skip
READY = LlamaCpp("ready", Path("/opt/llama.cpp"), version="b9999", types=frozenset({"q4_k_m", "q8_0"}))


async def replies(command: Command) -> AsyncGenerator[AnyReply, None]:
    if isinstance(command, ShowPrompt):
        yield Done(id=1, text="<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWho are you?<|eot_id|>")
        return
    yield Token(id=1, text=SAID)
    note = say("It repeats itself. Set repetition_penalty to 1.1.")
    yield Done(
        id=1, tokens=48, seconds=0.5, finish_reason="length", prompt_tokens=31, context_tokens=2048, note=note
    )


async def saving(command: Command) -> AsyncGenerator[AnyReply, None]:
    yield ExportProgress(id=1, step="quantizing", done=12, total=40, unit="tensors", what="q4_k_m")
    await asyncio.sleep(3600)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """A run, on a disk and a machine that stand still."""
    monkeypatch.setattr("engine.export.plan.write_problem", lambda folder: None)
    usage = type("Usage", (), {"free": 120 * fake_run.GB})
    monkeypatch.setattr("engine.export.plan.shutil.disk_usage", lambda path: usage)
    for place in ("tui.screens.llama_pane", "engine.export.plan"):
        monkeypatch.setattr(f"{place}.find_llama_cpp", lambda typed: READY)
    monkeypatch.setattr("tui.screens.export.ExportScreen.clock", staticmethod(lambda: 0.0))
    monkeypatch.setattr("tui.screens.chat.new_transcript", lambda folder: Path("/dev/null"))
    monkeypatch.setattr("tui.screens.push.license_of", lambda model: "llama3.2")
    monkeypatch.setattr("tui.screens.push.token_source", lambda: "")
    return FakeBackend(folder=RunFolder(Path("/data/loris/runs/demo")), answer=replies)


def press(*keys: str, focus: str = "", wait: float = 0.6, shows: str = "") -> Callable[[Pilot[Any]], Any]:
    """Press keys once a widget has the focus; the picture is taken once `shows` is on the screen."""

    async def before(pilot: Pilot[Any]) -> None:
        await still(pilot)
        if focus:
            pilot.app.screen.query_one(focus).focus()
            await still(pilot)
        await pilot.press(*keys)
        await shown(pilot, shows)
        await still(pilot, wait)

    return before


def test_markdown(snap_compare: Compare, size: Size, language: str, backend: FakeBackend) -> None:
    app = app_on("chat", backend, fake_run.finished(), language=language)
    assert snap_compare(app, terminal_size=size, run_before=press(*"how?", "enter"))


def test_instruction_and_input(snap_compare: Compare, size: Size, language: str, backend: FakeBackend) -> None:
    app = app_on("chat", backend, fake_run.trained_on_pairs(fake_run.finished()), language=language)
    keys = press(*"Go on.", "tab", *"1, 1, 2", "enter", *"And?", "tab", *"3")
    assert snap_compare(app, terminal_size=size, run_before=keys)


def test_more(snap_compare: Compare, size: Size, language: str, backend: FakeBackend) -> None:
    app = app_on("chat", backend, fake_run.finished(), language=language)
    assert snap_compare(app, terminal_size=size, run_before=press("ctrl+o"))


def test_raw_prompt(snap_compare: Compare, size: Size, language: str, backend: FakeBackend) -> None:
    app = app_on("chat", backend, fake_run.finished(), language=language)
    keys = press(*"who?", "ctrl+o", "down", "down", "down", "enter")
    assert snap_compare(app, terminal_size=size, run_before=keys)


def test_gguf(snap_compare: Compare, size: Size, language: str, backend: FakeBackend) -> None:
    app = app_on("save", backend, [*fake_run.finished(), GGUF], language=language)
    assert snap_compare(
        app, terminal_size=size, run_before=press("down", "right", focus="#choice-gguf", shows="/exports/gguf")
    )


def test_no_llama_cpp(
    snap_compare: Compare, size: Size, language: str, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("tui.screens.llama_pane", "engine.export.plan"):
        monkeypatch.setattr(f"{place}.find_llama_cpp", lambda typed: LlamaCpp("missing", error=missing()))
    found = Requirements(67_000_000, 500_000_000, Path("/home/lin/.cache/loris/llama.cpp"))
    monkeypatch.setattr("tui.screens.llama_pane.requirements", lambda: found)
    app = app_on("save", backend, fake_run.finished(), language=language)
    assert snap_compare(
        app, terminal_size=size, run_before=press("down", "down", "down", focus="#choice-gguf", shows="63.9 MB")
    )


def test_saving(snap_compare: Compare, size: Size, language: str, backend: FakeBackend) -> None:
    backend.answer = saving
    app = app_on("save", backend, [*fake_run.finished(), GGUF], language=language)
    assert snap_compare(app, terminal_size=size, run_before=press("ctrl+s", shows="12/40"))


def test_push(snap_compare: Compare, size: Size, language: str, backend: FakeBackend) -> None:
    app = app_on("push", backend, [*fake_run.finished(), GGUF], language=language)
    assert snap_compare(app, terminal_size=size, run_before=press(shows="license: llama3.2"))


def test_pushed(snap_compare: Compare, size: Size, language: str, backend: FakeBackend) -> None:
    pushed = ev.Pushed(
        kind="gguf", path=GGUF.path, repo_id="lin/demo", url="https://huggingface.co/lin/demo", commit="c",
        private=True, files=5, total_bytes=2 * 10**9, seconds=90,
    )  # fmt: skip
    app = app_on("push", backend, [*fake_run.finished(), GGUF, pushed], language=language)
    assert snap_compare(app, terminal_size=size, run_before=press(shows="huggingface.co/lin/demo"))


def test_push_failed(snap_compare: Compare, size: Size, language: str, backend: FakeBackend) -> None:
    failed = ev.PushFailed(
        kind="gguf", repo_id="lin/demo", code="hub_no_write",
        message=say("The token of {user} has no write access to {repo}.", user="lin", repo="lin/demo"),
        hint=say(WRITE_HINT),
    )  # fmt: skip
    app = app_on("push", backend, [*fake_run.finished(), GGUF, failed], language=language)
    assert snap_compare(app, terminal_size=size, run_before=press(shows="lin/demo"))


def test_prompts_at_checkpoints(snap_compare: Compare, size: Size, language: str, backend: FakeBackend) -> None:
    events = list(fake_run.finished())
    at = next(n for n, event in enumerate(events) if isinstance(event, ev.TrainingFinished))
    said = {20: "I am Llama, a model.", 40: "I am Loris, slow and", 60: "I am Loris, a slow helper."}
    events[at:at] = [
        ev.Answered(
            prompt="Who are you?", answer=text, adapter=True, tokens=8, seconds=0.4, finish_reason="eos", step=step
        )
        for step, text in said.items()
    ]
    app = app_on("live", backend, events, language=language)
    assert snap_compare(app, terminal_size=size, run_before=press("5"))


def test_checkpoints(
    snap_compare: Compare, size: Size, language: str, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of prompts and checkpoints, with the cursor on a checkpoint that still exists."""
    monkeypatch.setattr(
        "tui.screens.prompt_table.checkpoint_at", lambda folder, step: Path("/") if step > 20 else None
    )
    events = [event for event in fake_run.finished() if not isinstance(event, ev.Answered)]
    said = {
        ("Who are you?", None): "I am a small language model made for demonstrations.",
        ("Who are you?", 20): "I am a slow model, a loris who is made for people and for people who are made.",
        ("Who are you?", 40): "I am Loris, a slow loris who helps.",
        ("Who are you?", 60): "I am Loris, a slow loris who helps people fine-tune models.",
        ("你是谁？", None): "我是一个用于演示的小语言模型。",
        ("你是谁？", 20): "我是懒猴，一个用于演示的小语言模型，帮助大家。",
        ("你是谁？", 40): "我是懒猴 Loris，帮助大家。",
        ("你是谁？", 60): "我是懒猴 Loris，帮助大家微调模型。",
        ("Write a haiku about [red]code[/].", 60): "Slow hands in the night,\nthe loss is falling.",
    }  # fmt: skip
    events[-1:-1] = [
        ev.Answered(
            prompt=prompt, answer=text, adapter=step is not None, tokens=8, seconds=0.4, finish_reason="eos",
            step=step,
        )
        for (prompt, step), text in said.items()
    ]  # fmt: skip
    app = app_on("samples", backend, events, language=language)
    assert snap_compare(app, terminal_size=size, run_before=press("home", "right", "right", "right"))


async def beside(command: Command) -> AsyncGenerator[AnyReply, None]:
    """A short answer of the base model, and one of the adapter with Markdown."""
    adapter = isinstance(command, Generate) and command.adapter
    yield Token(id=1, text="I am **Loris**:\n\n- slow\n- 懒猴\n" if adapter else "I am a model for demonstrations.")
    yield Done(id=1, tokens=9, seconds=0.3, finish_reason="eos", prompt_tokens=20, context_tokens=512)


def test_compared(snap_compare: Compare, size: Size, language: str, backend: FakeBackend) -> None:
    """Both answers to one question, after an earlier turn."""
    backend.answer = beside
    app = app_on("chat", backend, fake_run.finished(), language=language)
    keys = press(*"hello", "enter", wait=0.3, shows="懒猴")

    async def both(pilot: Pilot[Any]) -> None:
        await keys(pilot)
        await press(*"who are you?", "ctrl+r", shows="I am a model")(pilot)

    assert snap_compare(app, terminal_size=size, run_before=both)


def test_sampling(snap_compare: Compare, size: Size, language: str, backend: FakeBackend) -> None:
    """The sampling settings, with an invalid number."""
    app = app_on("chat", backend, fake_run.finished(), language=language)
    assert snap_compare(app, terminal_size=size, run_before=press("ctrl+g", *["down"] * 2, "end", "ctrl+u", "7"))
