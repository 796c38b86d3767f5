"""The table of prompts and checkpoints: what it shows, and picking one to chat with or to copy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.widgets import DataTable

from engine.config.spec_files import save_spec
from engine.protocol import events as ev
from engine.protocol.commands import Generate
from engine.runs import manifest
from engine.runs.folder import RunFolder
from tests.helpers import fake_run
from tests.helpers.chat_screen import idle, speaks
from tests.helpers.fake_run import FakeBackend, app_on, screen_text
from tests.helpers.waiting import until
from tui.app import LorisApp
from tui.dialogs.ask import LineDialog
from tui.dialogs.show import PromptDialog
from tui.screens.chat import ChatScreen
from tui.screens.live import LiveScreen
from tui.screens.prompt_table import PromptTableScreen

PROMPTS = ("Who are you?", "你是谁？")
LONG = "A long one. " * 40 + "[/nope] the end"


def asked(step: int | None, adapter: bool = True) -> list[ev.Answered]:
    said = "base" if not adapter else f"after {step} steps" if step else LONG
    return [
        ev.Answered(prompt=p, answer=f"{said} ({n})", adapter=adapter, tokens=5, seconds=0.1, finish_reason="eos",
                    step=step)
        for n, p in enumerate(PROMPTS)
    ]  # fmt: skip


def scripted_events() -> list[ev.AnyEvent]:
    """A run with three checkpoints, whose engine serves questions."""
    events = [event for event in fake_run.finished() if not isinstance(event, ev.Answered)]
    return [*events[:-1], *asked(None, False), *asked(20), *asked(40), *asked(60), *asked(None), events[-1]]


@pytest.fixture
def backend(tmp_path: Path) -> FakeBackend:
    """The first checkpoint was deleted."""
    folder = RunFolder(tmp_path / "demo")
    folder.path.mkdir()
    save_spec(folder.spec, fake_run.SPEC)
    for step in (40, 60):
        path = folder.checkpoints / f"checkpoint-{step}"
        path.mkdir(parents=True)
        for name in ("adapter_config.json", "adapter_model.safetensors", "optimizer.pt", "tokenizer.json"):
            (path / name).write_text(f"{name} {step}")
        manifest.write_manifest(path, step)
    folder.adapter.mkdir()
    (folder.adapter / "loris.json").write_text(json.dumps({"prompt": {"format": "alpaca"}}))
    return FakeBackend(folder=folder, answer=speaks)


def table(app: LorisApp) -> DataTable[object]:
    return app.screen.query_one(DataTable)


async def test_prompts_by_checkpoints(backend: FakeBackend) -> None:
    app = app_on("live", backend, scripted_events())
    async with app.run_test(size=(160, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))
        await pilot.press("p")
        await until(pilot, lambda: isinstance(app.screen, PromptTableScreen) and app.focused is not None)
        titles = [str(column.label) for column in table(app).ordered_columns]
        assert titles[:2] == ["prompt", "base model"]
        assert [title.split(" · ")[0] for title in titles[2:]] == [
            "step 20",
            "step 40",
            "step 60",
            "after training",
        ]
        assert titles[2].split(" · ")[1] == f"{fake_run.loss_at(20):.4f}"
        rows = [[str(cell) for cell in table(app).get_row_at(n)] for n in range(2)]
        assert [row[:4] for row in rows] == [
            [prompt, f"base ({n})", f"after 20 steps ({n})", f"after 40 steps ({n})"]
            for n, prompt in enumerate(PROMPTS)
        ]
        await pilot.press("end", "enter")
        await until(pilot, lambda: isinstance(app.screen, PromptDialog))
        await pilot.press("end")
        await until(pilot, lambda: "[/nope] the end (0)" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, PromptTableScreen))
        # New answers are added, and the cursor stays.
        at = table(app).cursor_coordinate
        backend.feed(asked(80))
        await until(pilot, lambda: len(table(app).ordered_columns) == 7)
        assert table(app).cursor_coordinate == at
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))


async def test_a_checkpoint_is_picked_to_chat_with(backend: FakeBackend) -> None:
    app = app_on("samples", backend, scripted_events())
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.press("home", "right", "right")
        await until(pilot, lambda: "The checkpoint of step 20 is no longer kept" in screen_text(app))
        await pilot.press("c")
        await pilot.pause()
        assert isinstance(app.screen, PromptTableScreen)
        await pilot.press("right")
        await until(pilot, lambda: "The checkpoint of step 40 is kept" in screen_text(app))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        await until(pilot, lambda: "with the adapter and checkpoint-40" in screen_text(app))
        await pilot.press("a", "enter")
        await until(pilot, idle(pilot))
        sent = [(c.adapter, c.other) for c in backend.asked if isinstance(c, Generate)]
        assert sent == [(True, ""), (True, str(backend.folder.checkpoints / "checkpoint-40"))]


@pytest.mark.parametrize("named", [False, True], ids=["the run's own folder", "a folder of the user's"])
async def test_a_checkpoint_is_copied(named: bool, backend: FakeBackend, tmp_path: Path) -> None:
    app = app_on("samples", backend, scripted_events())
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.press("home", *["right"] * 4, "s")
        await until(pilot, lambda: isinstance(app.screen, LineDialog))
        target = tmp_path / "best" if named else backend.folder.exports / "adapter-step-60"
        await pilot.press(*(str(target) if named else ""), "enter")
        await until(pilot, lambda: "Saved at" in screen_text(app))
        names = {path.name for path in target.iterdir()}
        wanted = {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "loris.json"}
        wanted |= {"SHA256SUMS", "loris-manifest.json"}
        assert names == wanted
        assert (target / "adapter_config.json").read_text() == "adapter_config.json 60"
        # An existing folder is not overwritten.
        (target / "tokenizer.json").write_text("mine")
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, LineDialog))
        await pilot.press(*(str(target / "tokenizer.json") if named else ""), "enter")
        await until(pilot, lambda: isinstance(app.screen, PromptTableScreen))
        await until(pilot, lambda: not [w for w in app.workers if w.group == "save" and w.is_running])
    assert (target / "tokenizer.json").read_text() == "mine"


async def test_without_answers_it_says_what_will_be_shown(backend: FakeBackend) -> None:
    app = app_on("samples", backend, fake_run.loaded())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "Answers to the test prompts appear here" in screen_text(app))
        await pilot.press("enter", "c", "s")
        await pilot.pause()
        assert isinstance(app.screen, PromptTableScreen)
