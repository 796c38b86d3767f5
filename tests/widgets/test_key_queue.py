"""What was typed is what is run: keys that come in a burst act in order, on a slow machine too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot

from engine.config.spec_files import load_spec
from tests.helpers.waiting import until
from tests.helpers.wizard_driver import RecordingBackend, at_step, settle, wizard
from tui.app import LorisApp

SLOW = pytest.mark.parametrize("pause", [0.0, 0.02], ids=["quick", "slow"])
CLEAR = ("end", "ctrl+u")


def write(pilot: Pilot[None], *keys: str) -> None:
    """All keys at once, as one write to the terminal."""
    for key in keys:
        pilot.app.post_message(events.Key(key, key if len(key) == 1 else None))


@asynccontextmanager
async def slowed(pause: float) -> AsyncIterator[None]:
    """The event loop of a busy machine: it stands still for `pause` seconds again and again."""

    async def hold() -> None:
        while True:
            time.sleep(pause)  # noqa: ASYNC251 (to block the loop)
            await asyncio.sleep(pause / 10)

    task = asyncio.create_task(hold()) if pause else None
    yield
    if task:
        task.cancel()


async def opened(pilot: Pilot[None], step: str, field: str = "") -> None:
    await settle(pilot)
    app = pilot.app
    assert isinstance(app, LorisApp)
    app.go(step, field)
    await until(pilot, at_step(pilot, step))
    await settle(pilot)


@SLOW
async def test_keys_of_one_write_reach_their_fields_in_order(pause: float) -> None:
    app = LorisApp(language="en", preset="demo", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "training", "training.max_steps")
        async with slowed(pause):
            write(
                pilot, "ctrl+u", "9", "0", "up", "up", "ctrl+u", "3", "down", *CLEAR, *"150", "down", "down", "down"
            )
            write(pilot, *CLEAR, *"1e-5", "tab", *CLEAR, "7")
            await until(pilot, lambda: app.draft["training.warmup_steps"] == 7, seconds=60)
        draft = app.draft
        assert draft["training.max_steps"] == 90
        assert draft["training.per_device_train_batch_size"] == 3
        assert draft["training.gradient_accumulation_steps"] == 150
        assert draft.as_typed("training.learning_rate") == "1e-5"


@SLOW
async def test_what_is_typed_while_steps_switch_is_kept(pause: float) -> None:
    app = LorisApp(language="en", preset="demo", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "lora")
        async with slowed(pause):
            write(pilot, *CLEAR, *"32", "f6", *CLEAR, "4", "down", *CLEAR, "1", "escape", "down", *CLEAR, *"64")
            write(pilot, "ctrl+n", "down", "down", *CLEAR, *"70", "f8")
            await until(pilot, lambda: getattr(app.screen, "STEP", "") == "review", seconds=60)
        changes = {change.field: change.after for change in app.draft.changes()}
        assert changes == {
            "lora.r": 32, "lora.lora_alpha": 64, "training.per_device_train_batch_size": 4,
            "training.gradient_accumulation_steps": 1, "training.max_steps": 70,
        }  # fmt: skip


@SLOW
async def test_a_dialog_gets_what_is_typed_before_it_is_drawn(pause: float, home: Path) -> None:
    app = LorisApp(language="en", preset="demo", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "lora")
        async with slowed(pause):
            write(pilot, *CLEAR, "8", "ctrl+s", *CLEAR, *"mine", "enter", "down", *CLEAR, "9")
            await until(pilot, lambda: app.draft["lora.lora_alpha"] == 9, seconds=60)
        assert load_spec(home / "presets" / "mine.yaml").lora.r == 8
        assert wizard(pilot).STEP == "lora"


async def test_keys_before_the_first_screen_wait_for_it() -> None:
    app = LorisApp(language="en", preset="demo", backend=RecordingBackend())
    app.post_message(events.Key("n", "n"))  # typed while Loris starts: new, from scratch
    async with app.run_test(size=(80, 24)) as pilot:
        write(pilot, *CLEAR, *"a/b")
        await until(pilot, lambda: app.draft["model.model_name"] == "a/b")


async def test_a_pasted_text_keeps_its_place_among_the_keys() -> None:
    app = LorisApp(language="en", preset="demo", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "model")
        write(pilot, *CLEAR)
        app.post_message(events.Paste("owner/"))
        write(pilot, "x", "f6", *CLEAR)
        app.post_message(events.Paste("12"))
        write(pilot, "8")
        await until(pilot, lambda: app.draft["training.per_device_train_batch_size"] == 128)
        assert app.draft["model.model_name"] == "owner/x"


async def test_the_palette_runs_what_was_typed_and_entered_at_once() -> None:
    app = LorisApp(language="en", preset="demo", start="review", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        write(pilot, "ctrl+p", *"LoRA", "enter", "end", "ctrl+u", "7")
        await until(pilot, lambda: app.draft["lora.r"] == 7)
