"""The Method step: every way to train, from Home to the chat by keys alone, and what follows from the choice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from engine.config import presets
from engine.config.fields import section_fields
from engine.config.methods import FULL_FINETUNING, METHODS, method_defaults
from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from engine.protocol.commands import Train
from tests.helpers import fake_run
from tests.helpers.fake_run import screen_text
from tests.helpers.method_runs import NEEDED, spec_of, trained_by
from tests.helpers.waiting import on_screen, until
from tests.helpers.wizard_driver import RecordingBackend, at_step, open_step, settle, type_into, wizard
from tui.app import LorisApp
from tui.screens.chat import ChatScreen
from tui.screens.live import LiveScreen
from tui.state.draft import METHOD, Draft
from tui.text.method import CHOICES, MethodChoice
from tui.widgets.field import Field
from tui.widgets.help_pane import HelpPane

MODEL = "unsloth/Qwen2-1.5B-Instruct"
ROWS: dict[str, dict[str, Any]] = {
    "alpaca": {"instruction": "Who are you?", "output": "I am Loris."},
    "text": {"text": "A loris is slow and careful. " * 4},
    "preference": {"prompt": "Who are you?", "chosen": "I am Loris.", "rejected": "I am Llama."},
    "votes": {"prompt": "Who are you?", "completion": "I am Loris.", "label": True},
    "prompts": {"prompt": "What is 6 × 7?", "answer": "42"},
}


def rows_for(choice: MethodChoice, folder: Path) -> Path:
    """A file of the first kind of data that the method accepts."""
    kinds = METHODS[choice.method].kinds
    row = ROWS["prompts" if "prompts" in kinds else next(kind for kind in kinds if kind in ROWS)]
    path = folder / "rows.jsonl"
    others = [{**row, "label": number % 2 == 0} if "label" in row else row for number in range(4)]
    path.write_text("".join(json.dumps(one) + "\n" for one in others), encoding="utf-8")
    return path


async def choose(pilot: Pilot[None], name: str) -> None:
    """Choose a method by keys, on the Method step."""
    await until(pilot, at_step(pilot, "method"))
    wizard(pilot).query_one("#methods").focus()
    await pilot.press("home", *["down"] * list(CHOICES).index(name), "enter")
    await settle(pilot)


def help_beside(pilot: Pilot[None]) -> str:
    """The help next to the form of a wide screen."""
    return str(pilot.app.screen.query_one(HelpPane).query_one(Static).render())


# Each walk takes many seconds: those that differ most are walked each time.
WALKS = [
    name if name in ("dpo", "grpo", "reward") else pytest.param(name, marks=pytest.mark.slow) for name in CHOICES
]


@pytest.mark.parametrize("name", WALKS)
async def test_from_home_to_the_chat_by_keys(name: str, tmp_path: Path) -> None:
    choice = CHOICES[name]
    rows = rows_for(choice, tmp_path)
    backend = RecordingBackend()
    app = LorisApp(language="en", backend=backend)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.focused is not None)
        await pilot.press("n")
        await until(pilot, at_step(pilot, "model"))
        await type_into(pilot, "model.model_name", MODEL)
        await pilot.press("ctrl+n")
        await choose(pilot, name)
        if choice.method in NEEDED:
            key, value = NEEDED[choice.method]
            wizard(pilot).field_at(f"{choice.method}.{key}").put(value)
        await pilot.press("ctrl+n")
        await until(pilot, at_step(pilot, "dataset"))
        await type_into(pilot, "dataset.path", str(rows))
        await pilot.press("ctrl+n")
        await until(pilot, lambda: getattr(app.screen, "STEP", "") == "lora")
        await pilot.press("ctrl+n")
        await until(pilot, at_step(pilot, "training"))
        await type_into(pilot, "training.max_steps", "20")
        await pilot.press("ctrl+n")
        await until(pilot, at_step(pilot, "review"))
        await settle(pilot)
        assert app.draft.errors() == {}
        assert screen_text(app).index(CHOICES[name].title) < screen_text(app).index(MODEL), "the method comes first"
        await pilot.press("ctrl+r")
        await on_screen(pilot, LiveScreen)
        # A reward model is loaded in another way: its engine starts anew, and reads the spec from its folder.
        await until(pilot, lambda: bool(backend.asked) or len(backend.launched) > 1)
        orders = [order.spec for order in backend.asked if isinstance(order, Train)]
        assert bool(orders) != METHODS[choice.method].scores
        spec = orders[-1] if orders else app.session.spec
        assert spec
        check_spec(spec, choice, rows)
        backend.feed(trained_by(choice.method, fake_run.finished()))
        await until(pilot, lambda: app.session.state.trained)
        await pilot.press("7")
        await pilot.pause()
        assert ("7 Method" in screen_text(app)) == bool(METHODS[choice.method].metrics)
        await pilot.press("c")
        await on_screen(pilot, ChatScreen)


def check_spec(spec: RunSpec, choice: MethodChoice, rows: Path) -> None:
    """What was chosen, the method's own defaults, and nothing of another method."""
    assert spec.training.method == choice.method
    assert spec.model.full_finetuning is choice.full_finetuning
    assert spec.model.model_name == MODEL
    assert spec.dataset.path == str(rows)
    assert spec.training.max_steps == 20
    for path, value in method_defaults(choice.method, choice.full_finetuning).items():
        section, _dot, key = path.partition(".")
        assert getattr(getattr(spec, section), key) == value, path
    usual = RunSpec()
    for other in METHODS.keys() - {"sft", choice.method}:
        assert getattr(spec, other) == getattr(usual, other)


async def test_settings_follow_the_method_and_come_back() -> None:
    app = LorisApp(language="en", backend=RecordingBackend())
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        app.go("training")
        await settle(pilot)
        await type_into(pilot, "training.gradient_accumulation_steps", "2")
        await open_step(pilot, "f3")
        await choose(pilot, "cpt")
        assert "It sets, in other steps: Learning rate 5e-05, Rank 128," in help_beside(pilot)
        await choose(pilot, "grpo")
        assert "Batch size 8" in help_beside(pilot)
        assert "stay: Gradient accumulation 2. Usual here: Gradient accumulation 1." in help_beside(pilot)
        training = await open_step(pilot, "f6")
        assert training.field_at("training.learning_rate").value == "5e-06"
        assert training.field_at("training.gradient_accumulation_steps").value == "2", "the user's own stays"
        training.focus_field("training.learning_rate")
        await pilot.pause()
        assert "Default  5e-06" in help_beside(pilot), "the help knows the method's default"
        await open_step(pilot, "f3")
        await choose(pilot, "sft")
        assert app.draft["training.learning_rate"] == RunSpec().training.learning_rate
        assert "It sets" not in help_beside(pilot)


async def test_only_the_fields_of_the_chosen_method_are_shown() -> None:
    app = LorisApp(language="en", backend=RecordingBackend())
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        app.go("method")
        await settle(pilot)
        for name in ("dpo", "kto", "dpo", "full"):
            await choose(pilot, name)
            shown = {field.info.path for field in app.screen.query(Field)}
            method = CHOICES[name].method
            wanted = section_fields(method).values() if name != "full" else []
            assert shown == {info.path for info in wanted}
        await choose(pilot, "dpo")
        await type_into(pilot, "dpo.beta", "0.3")
        await choose(pilot, "kto")
        assert "dpo" not in app.draft.values()
        assert {change.field for change in app.draft.changes()}.isdisjoint({"dpo.beta"})
        await choose(pilot, "dpo")
        assert app.draft.values()["dpo"]["beta"] == 0.3, "it is kept for when the method is chosen again"


async def test_an_adapter_is_not_offered_where_the_whole_model_is_trained() -> None:
    app = LorisApp(language="en", backend=RecordingBackend())
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        app.go("model")
        await settle(pilot)
        await type_into(pilot, "model.model_name", MODEL)
        assert app.draft["model.load_in_4bit"] is True
        wizard(pilot).focus_field(FULL_FINETUNING)
        await until(pilot, lambda: app.focused is wizard(pilot).field_at(FULL_FINETUNING).editor)
        await pilot.press("space")
        await settle(pilot)
        assert wizard(pilot).field_at("model.load_in_4bit").value is False, "the field follows in place"
        await open_step(pilot, "f3")
        assert "● Full fine-tuning" in screen_text(app)
        await pilot.press("f5")
        await until(pilot, lambda: getattr(app.screen, "STEP", "") == "lora")
        await settle(pilot)
        assert "The whole model is trained" in screen_text(app)
        assert "lora_alpha" not in screen_text(app)
        review = await open_step(pilot, "f8")
        assert "without an adapter" in " ".join(screen_text(app).split())
        assert FULL_FINETUNING not in review.loris.draft.errors()


async def test_the_demo_of_a_method_is_loaded_by_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    save_spec(tmp_path / "demo-dpo.yaml", spec_of("dpo"))
    monkeypatch.setattr(presets, "shipped_folder", lambda: tmp_path)
    app = LorisApp(language="en", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.go("method")
        await settle(pilot)
        assert "Ctrl+T loads" not in screen_text(app)
        await pilot.press("ctrl+t")
        await settle(pilot)
        assert wizard(pilot).STEP == "method", "there is no demo of this one here"
        await pilot.press("down", "down", "down")
        await pilot.pause()
        assert "Ctrl+T loads demo-dpo" in " ".join(screen_text(app).split())
        await pilot.press("ctrl+t")
        await until(pilot, at_step(pilot, "review"))
        assert app.draft[METHOD] == "dpo"
        assert not app.draft.changed


async def test_a_demo_replaces_a_changed_draft_only_when_agreed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save_spec(tmp_path / "demo-cpt.yaml", spec_of("cpt"))
    monkeypatch.setattr(presets, "shipped_folder", lambda: tmp_path)
    app = LorisApp(language="en", backend=RecordingBackend())
    app.draft = Draft()
    app.draft["name"] = "mine"
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.go("method")
        await settle(pilot)
        for keys, kept in ((("enter",), True), (("right", "enter"), False)):
            await pilot.press("home", "down", "down", "ctrl+t")
            await until(pilot, lambda: "It replaces what you have filled in" in screen_text(app))
            await pilot.press(*keys)
            await settle(pilot)
            assert (app.draft["name"] == "mine") is kept


async def test_an_error_of_a_method_leads_to_its_field() -> None:
    app = LorisApp(language="en", backend=RecordingBackend())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.draft[METHOD] = "grpo"
        app.draft["grpo.num_generations"] = "3"
        app.go("review")
        await settle(pilot)
        app.go("method", "grpo.num_generations")
        await settle(pilot)
        field = wizard(pilot).field_at("grpo.num_generations")
        await until(pilot, lambda: app.focused is field.editor)
        assert "not a multiple of 3" in " ".join(screen_text(app).split())
