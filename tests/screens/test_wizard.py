"""The wizard by keyboard: from the first screen to the spec that the engine receives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from textual.screen import ModalScreen
from textual.widgets import Button, Input

from engine.config.fields import section_fields
from engine.config.methods import METHODS
from engine.config.prompt_templates import ALPACA, ALPACA_ZH
from engine.config.run_spec import SECTIONS
from engine.config.spec_files import load_spec
from engine.protocol.commands import Train
from tests.helpers.fake_run import screen_text
from tests.helpers.waiting import on_screen, still, until
from tests.helpers.wizard_driver import (
    NASTY,
    SHOWN_NASTY,
    RecordingBackend,
    at_step,
    error_of,
    open_step,
    settle,
    type_into,
    wizard,
)
from tui.app import SCREENS, LorisApp
from tui.dialogs.dataset import MappingDialog
from tui.dialogs.save_preset import SavePresetDialog
from tui.dialogs.show import HelpDialog
from tui.screens.live import LiveScreen
from tui.screens.wizard import STEPS, step_of
from tui.state.draft import METHOD
from tui.widgets.field import Field
from tui.widgets.list_box import ListBox
from tui.widgets.preview import Preview

SIZES = [(80, 24), (120, 36)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """An Alpaca file of three rows."""
    path = tmp_path / "rows.jsonl"
    lines = [{"question": f"What is {n}?", "answer": f"It is {n}. {NASTY}"} for n in range(3)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("size", SIZES)
async def test_from_home_to_training_by_keys(size: tuple[int, int], chat: Path) -> None:
    backend = RecordingBackend()
    app = LorisApp(language="en", backend=backend)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.focused is not None)
        await pilot.press("n")  # new, from scratch
        await until(pilot, at_step(pilot, "model"))
        await type_into(pilot, "model.model_name", "unsloth/Qwen2-1.5B-Instruct")
        await pilot.press("tab", "tab")  # past the list of suggestions
        await pilot.press("end", "ctrl+u", *"1024", "down", "space")
        assert wizard(pilot).STEP == "model"
        await pilot.press("ctrl+n")
        await until(pilot, at_step(pilot, "method"))
        await pilot.press("ctrl+n")
        await until(pilot, at_step(pilot, "dataset"))
        await type_into(pilot, "dataset.path", str(chat))
        await pilot.press("down", *"[:30]", "down", "right", "right")
        await pilot.press("ctrl+n")
        await until(pilot, at_step(pilot, "lora"))
        await pilot.press("end", "ctrl+u", *"32", "down", "down", "down", "right", "space")
        await pilot.press("ctrl+n")
        await until(pilot, at_step(pilot, "training"))
        await type_into(pilot, "training.learning_rate", "5e-5")
        await type_into(pilot, "training.max_steps", "20")
        await pilot.press("ctrl+n")
        await until(pilot, at_step(pilot, "review"))
        await settle(pilot)
        assert "Each step learns from 8 examples" in screen_text(app), app.draft.errors()
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))
        await until(pilot, lambda: bool(backend.asked))
        order = backend.asked[-1]  # sent to the engine started at the model step
        assert isinstance(order, Train)
        spec = order.spec
        assert spec.model.model_name == "unsloth/Qwen2-1.5B-Instruct"
        assert spec.model.max_seq_length == 1024
        assert spec.model.load_in_4bit is False
        assert spec.dataset.path == str(chat)
        assert spec.dataset.split == "train[:30]"
        assert spec.dataset.format == "messages"
        assert spec.lora.r == 32
        assert spec.lora.target_modules == ("q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
        assert spec.training.learning_rate == 5e-5
        assert spec.training.max_steps == 20
        assert backend.launched == ["wait"]
        assert isinstance(app.screen, LiveScreen)


async def test_navigation_and_changing_the_language_lose_nothing() -> None:
    app = LorisApp(language="en", preset="demo", backend=RecordingBackend())
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        app.go("training")
        await settle(pilot)
        await type_into(pilot, "training.learning_rate", "2e-x")
        await type_into(pilot, "training.weight_decay", "1e-2")
        await type_into(pilot, "training.seed", "12")
        await open_step(pilot, "f2")
        await open_step(pilot, "f5")
        await pilot.press("escape")
        await settle(pilot)
        assert wizard(pilot).STEP == "dataset"
        await open_step(pilot, "f6")
        app.use_language("zh")
        await settle(pilot)
        for path, typed in (("learning_rate", "2e-x"), ("weight_decay", "1e-2"), ("seed", "12")):
            editor = wizard(pilot).field_at(f"training.{path}").editor
            assert isinstance(editor, Input)
            assert editor.value == typed
        error = error_of(wizard(pilot).field_at("training.learning_rate"))
        assert error
        assert "Give a number" not in error  # it is Chinese now
        app.use_language("en")
        await settle(pilot)
        assert "Give a number" in error_of(wizard(pilot).field_at("training.learning_rate"))


async def test_epochs_typed_into_the_form_mean_epochs() -> None:
    app = LorisApp(language="en", preset="demo", backend=RecordingBackend())
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        app.go("training")
        await settle(pilot)
        assert not app.draft.is_typed("training.num_train_epochs"), "to look at a form is not to fill it in"
        steps, epochs = (wizard(pilot).field_at(f"training.{key}") for key in ("max_steps", "num_train_epochs"))
        await type_into(pilot, "training.num_train_epochs", "2")
        assert (steps.value, epochs.value) == ("-1", "2")
        assert "2 epochs over" in screen_text(app)
        await type_into(pilot, "training.max_steps", "4")
        assert (steps.value, epochs.value) == ("4", "1.0")
        assert wizard(pilot).field_at("training.warmup_steps").value == "2"
        assert app.draft.errors() == {}


async def test_one_of_many_optimizers_is_chosen_from_a_list() -> None:
    app = LorisApp(language="en", preset="demo", backend=RecordingBackend())
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        app.go("training", "training.optim")
        await settle(pilot)
        await pilot.press("enter", "down", "enter")
        await until(pilot, lambda: app.draft["training.optim"] == "paged_adamw_8bit")
        assert wizard(pilot).STEP == "training"


async def test_values_that_differ_from_the_preset_are_marked() -> None:
    app = LorisApp(language="en", preset="demo", start="review", backend=RecordingBackend())
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        assert "All settings are as in the preset." in screen_text(app)
        await open_step(pilot, "f5")
        field = await type_into(pilot, "lora.r", "64")
        assert str(field.query_one(".mark").render()) == "•"
        await open_step(pilot, "f8")
        assert "Rank (lora.r): 16 → 64" in screen_text(app)
        assert "demo (changed)" in screen_text(app)
        await open_step(pilot, "f5")
        field = await type_into(pilot, "lora.r", "16")
        assert str(field.query_one(".mark").render()) == "›"


async def test_an_alpaca_file_offers_its_columns_and_shows_its_rows_literally(rows: Path) -> None:
    app = LorisApp(language="en", backend=RecordingBackend())
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        app.go("dataset")
        await settle(pilot)
        await type_into(pilot, "dataset.path", str(rows))
        wizard(pilot).field_at("dataset.format").put("alpaca")
        column = wizard(pilot).field_at("dataset.instruction_column")
        column.put("qustion")
        await until(pilot, lambda: 'There is no column "qustion"' in error_of(column))
        wizard(pilot).focus_field("dataset.instruction_column")
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, MappingDialog)
        app.screen.query_one(ListBox).focus()
        await pilot.press("home", "enter")
        await settle(pilot)
        await type_into(pilot, "dataset.output_column", "answer")
        await until(pilot, lambda: not app.draft.errors())
        assert app.draft["dataset.instruction_column"] == "question"
        assert error_of(column) == ""
        preview = app.screen.query_one(Preview)
        await until(pilot, lambda: "### Instruction:\nWhat is 0?" in str(preview._body.render()))
        assert SHOWN_NASTY in str(preview._body.render())
        preview.focus()
        await pilot.press("right")
        assert "What is 1?" in str(preview._body.render())
        app.export_screenshot()  # invalid markup would crash here
        assert "\x1b]0" not in screen_text(app)


async def test_prompt_texts_can_be_chosen_and_changed() -> None:
    app = LorisApp(language="en", backend=RecordingBackend())
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        app.go("dataset")
        await settle(pilot)
        wizard(pilot).focus_field("dataset.prompt_template")
        await pilot.pause()
        assert app.draft["dataset.prompt_template"] == ALPACA
        await pilot.press("shift+tab", "right")
        await settle(pilot)
        assert app.draft["dataset.prompt_template"] == ALPACA_ZH
        wizard(pilot).field_at("dataset.prompt_template").put("{instruction}")
        await settle(pilot)
        assert "The prompt template needs {output}." in error_of(wizard(pilot).field_at("dataset.prompt_template"))


async def test_markers_keep_their_newlines() -> None:
    app = LorisApp(language="en", preset="demo", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.go("dataset")
        await settle(pilot)
        wizard(pilot).field_at("dataset.instruction_part").put("<|user|>\n")
        field = await type_into(pilot, "dataset.response_part", r"<|bot|>\n\\")
        assert app.draft["dataset.instruction_part"] == "<|user|>\n"
        assert app.draft["dataset.response_part"] == "<|bot|>\n\\"
        assert error_of(field) == ""


async def test_presets_are_saved_and_overwritten_only_on_request(home: Path) -> None:
    app = LorisApp(language="en", preset="demo", start="review", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await open_step(pilot, "f5")
        await type_into(pilot, "lora.r", "8")
        for expected in ("", "already exists"):
            await pilot.press("ctrl+s")
            await pilot.pause()
            assert isinstance(app.screen, SavePresetDialog)
            await pilot.press("end", "ctrl+u", *"mine", "enter")
            await settle(pilot)
            if expected:
                assert expected in str(app.screen.query_one(".error").render())
                assert app.focused is app.screen.query_one("#overwrite", Button)
                await pilot.press("enter")
                await settle(pilot)
            assert wizard(pilot).STEP == "lora"
        assert load_spec(home / "presets" / "mine.yaml").lora.r == 8
        assert not app.draft.changed
        await pilot.press("ctrl+s")
        await pilot.press("end", "ctrl+u", "enter")
        await settle(pilot)
        assert "Give the preset a name." in str(app.screen.query_one(".error").render())


async def test_help_explains_a_field() -> None:
    app = LorisApp(language="en", preset="demo", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.go("training")
        await settle(pilot)
        assert "How many examples go through the card at once" in screen_text(app)
        await pilot.press("f1")
        await pilot.pause()
        assert isinstance(app.screen, HelpDialog)
        assert "1 to 4,096" in screen_text(app)
        await pilot.press("escape")
        await pilot.pause()
        assert wizard(pilot).STEP == "training"


async def test_every_field_of_the_spec_is_on_some_step() -> None:
    app = LorisApp(language="en", preset="demo", backend=RecordingBackend())
    found: set[str] = set()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        for step in ("model", "dataset", "lora", "training", "review"):
            app.go(step)
            await settle(pilot)
            found |= {field.info.path for field in app.screen.query(Field)}
        for method in METHODS:
            app.draft[METHOD] = method
            app.go("method")
            await settle(pilot)
            shown = {field.info.path for field in app.screen.query(Field)}
            assert {path.partition(".")[0] for path in shown} <= {method}, "a setting of another method"
            found |= shown
    wanted = {info.path for section in SECTIONS for info in section_fields(section).values()}
    # LoftQ has only one value; the method is chosen in the list of the Method step.
    assert wanted - found == {"lora.loftq_config", METHOD}


# The palette and the imports


async def test_the_palette_speaks_the_users_language() -> None:
    app = LorisApp(language="en", preset="demo", start="review", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("ctrl+p")
        await on_screen(pilot, ModalScreen)
        await pilot.press(*"lora", "enter")
        await still(pilot)
        await pilot.press("enter")
        await until(pilot, at_step(pilot, "lora"))
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert "preset: save" in titles
        assert "language: 简体中文" in titles


def test_every_error_leads_to_a_step() -> None:
    for path in (
        "name",
        "model.dtype",
        METHOD,
        "grpo.beta",
        "generation.prompts",
        "export.copy_to",
        "training.output_dir",
    ):
        assert step_of(path) in STEPS
        assert step_of(path) in SCREENS


def test_the_screens_import_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "trl", "peft", "datasets", "unsloth")
    modules = sorted({place.partition(":")[0] for place, _title in SCREENS.values()})
    code = f"import sys, {', '.join(modules)}; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
