"""The parts of the wizard that have a life of their own: the file picker, the list of runs, words on amounts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.client.launch import new_run
from engine.config.prompt_templates import PROMPT_TEMPLATES, placeholders
from engine.config.run_spec import ExportSpec, RunSpec, TrainingSpec
from tests.helpers.fake_run import screen_text
from tests.helpers.wizard_driver import NASTY, SHOWN_NASTY, RecordingBackend, settle, wizard
from tui.app import SCREENS, LorisApp
from tui.dialogs.ask import FilePicker
from tui.screens.live import LiveScreen
from tui.screens.wizard import STEPS, step_of
from tui.state.draft import Draft
from tui.state.model_catalogue import catalogue
from tui.text.run import run_words
from tui.text.training import Amounts, sliced, training_words
from tui.text.values import escape, unescape


async def test_a_file_is_picked_by_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "[red]x[nope]"
    folder.mkdir()
    (folder / "data.jsonl").write_text('{"instruction": "a", "output": "b"}\n', encoding="utf-8")
    (folder / "notes.md").touch()
    monkeypatch.chdir(tmp_path)
    app = LorisApp(language="en", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.go("dataset")
        await settle(pilot)
        await pilot.press("ctrl+o")
        await settle(pilot)
        assert isinstance(app.screen, FilePicker)
        await pilot.pause(0.2)
        assert "[red]x[nope]/" in screen_text(app)
        at = [entry.path for entry in app.screen._entries].index(folder)
        await pilot.press("home", *["down"] * at)
        await pilot.press("enter")
        await settle(pilot)
        assert "data.jsonl" in screen_text(app)
        assert "notes.md" not in screen_text(app)
        await pilot.press("end", "enter")
        await settle(pilot)
        assert app.draft["dataset.path"] == str(folder / "data.jsonl")


async def test_a_model_folder_is_picked_and_one_that_is_none_is_said_to_be(tmp_path: Path) -> None:
    app = LorisApp(language="en", backend=RecordingBackend())
    app.draft["model.model_name"] = str(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.go("model")
        await settle(pilot)
        await pilot.press("ctrl+o")
        await settle(pilot)
        await pilot.press("home", "enter")  # "choose this folder" is the first
        await settle(pilot)
        assert wizard(pilot).STEP == "model"
        assert app.draft["model.model_name"] == str(tmp_path)
        await pilot.pause(0.6)
        await settle(pilot)
        assert "This folder is no model" in screen_text(app)


async def test_runs_are_listed_literally_and_opened() -> None:
    folder = new_run(RunSpec(name=NASTY))
    app = LorisApp(language="en", backend=RecordingBackend())
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        text = screen_text(app)
        assert SHOWN_NASTY[:20] in text
        assert "\x1b]0" not in text
        await pilot.press("end", "enter")
        await settle(pilot)
        await pilot.pause(0.3)
        assert isinstance(app.screen, LiveScreen)
        assert app.session.folder == folder


async def test_the_palette_speaks_the_users_language() -> None:
    app = LorisApp(language="en", preset="demo", start="review", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("ctrl+p")
        await pilot.pause(0.3)
        await pilot.press(*"lora", "enter")
        await pilot.pause(0.3)
        await pilot.press("enter")
        await settle(pilot)
        assert wizard(pilot).STEP == "lora"
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert "preset: save" in titles
        assert "language: 简体中文" in titles


@pytest.mark.parametrize(
    ("amounts", "words"),
    [
        (Amounts(2, 4, 60, 1.0, 0), "ends after 60 steps; epochs do not count."),
        (Amounts(2, 4, 60, 1.0, 240), "each of the 240 rows about 2.0 times"),
        (Amounts(2, 4, -1, 3.0, 250), "3 epochs over 250 rows are 96 steps."),
        (Amounts(2, 4, -1, 0.5, 0), "known once the data is loaded"),
    ],
)
def test_words_on_amounts(amounts: Amounts, words: str) -> None:
    assert words in training_words(amounts)


@pytest.mark.parametrize(
    ("split", "rows"),
    [("train", 200), ("train[:50]", 50), ("train[50:]", 150), ("train[:10%]", 20), ("train[:999]", 200)],
)
def test_slices_of_a_split(split: str, rows: int) -> None:
    assert sliced(200, split) == rows


@pytest.mark.parametrize("text", ["", "a\nb", "\\n", "\\\\n\n", "tab\there", "end\\"])
def test_escapes_come_back(text: str) -> None:
    assert unescape(escape(text)) == text
    assert "\n" not in escape(text)


def test_a_draft_keeps_what_was_typed_and_knows_what_changed() -> None:
    draft = Draft(RunSpec(training=TrainingSpec(learning_rate=1e-4)))
    draft["training.learning_rate"] = "1e-4"
    assert draft.as_typed("training.learning_rate") == "1e-4"
    assert not draft.differs("training.learning_rate")
    draft["training.learning_rate"] = "quick"
    draft["lora.r"] = "8"
    assert [(one.field, one.after) for one in draft.changes()] == [
        ("lora.r", 8),
        ("training.learning_rate", "quick"),
    ]
    assert draft.build()[0] is None
    assert draft.sound_parts().lora.r == 8
    assert draft.sound_parts().training.learning_rate == 1e-4


def test_the_review_says_what_is_saved_and_where_it_goes() -> None:
    told = run_words(RunSpec(export=ExportSpec(merged_16bit=True, gguf=("q4_k_m", "q8_0"), push_to="lin/x")), 0)[-1]
    assert told.startswith(
        "Then the adapter is saved. The merged 16-bit model is written as well. GGUF files are made: q4_k_m, q8_0. "
        "All of it is sent to the Hub: lin/x (private)."
    )
    public = run_words(RunSpec(export=ExportSpec(push_to="lin/x", push_private=False)), 0)[-1]
    assert "sent to the Hub: lin/x (public)." in public


def test_every_error_leads_to_a_step() -> None:
    for path in ("name", "model.dtype", "generation.prompts", "export.copy_to", "training.output_dir"):
        assert step_of(path) in STEPS
        assert step_of(path) in SCREENS


def test_the_catalogue_is_sound() -> None:
    models = catalogue()
    assert len(models) > 20
    assert len({model.bnb_4bit for model in models}) == len(models)
    assert all(model.bnb_4bit.endswith("-bnb-4bit") and model.memory_4bit < model.memory_16bit for model in models)
    assert all({"instruction", "output"} <= placeholders(text) for text in PROMPT_TEMPLATES.values())


def test_the_screens_load_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "trl", "peft", "datasets", "unsloth")
    modules = sorted({place.partition(":")[0] for place, _title in SCREENS.values()})
    code = f"import sys, {', '.join(modules)}; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.timeout(10)
def test_a_long_text_is_read_at_once():
    assert unescape(r"\n" * 500_000) == "\n" * 500_000
