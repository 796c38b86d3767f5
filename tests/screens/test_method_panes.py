"""A method's panes on the run screen, its runs on Home and in the comparison, and the demos on Home."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Tab

from engine.config import presets
from engine.config.spec_files import save_spec
from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from tests.helpers import fake_run
from tests.helpers.fake_run import START, FakeBackend, app_on, screen_text
from tests.helpers.method_runs import WITH_METRICS, fix_lights, scored, spec_of, trained_by
from tests.helpers.runs_on_home import made
from tests.helpers.waiting import on_screen, shown, until
from tests.helpers.wizard_driver import RecordingBackend, at_step, settle
from tui.app import LorisApp
from tui.dialogs.ask import ListDialog
from tui.screens.compare import ComparedRun, compared_metric, read
from tui.screens.live import LiveScreen
from tui.state.draft import METHOD
from tui.text.method import CHOICES


@pytest.mark.parametrize("method", ["sft", *WITH_METRICS])
async def test_only_a_method_with_numbers_has_a_pane_for_them(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fix_lights(monkeypatch)
    app = app_on("live", FakeBackend(), trained_by(method, fake_run.training()), spec=spec_of(method))
    async with app.run_test(size=(80, 24)) as pilot:
        live = await on_screen(pilot, LiveScreen)
        await pilot.press("7", "8")
        await pilot.pause()
        tabs = {tab.id: tab.label_text for tab in live.query(Tab)}
        assert ("method" in tabs) == (method in WITH_METRICS)
        assert ("scored" in tabs) == (method == "grpo")
        if method in WITH_METRICS:
            assert tabs["method"] == "7 Method ✗", "the worst light is on the tab, whichever pane is open"


async def test_the_plot_shows_another_number_by_a_key() -> None:
    app = app_on("live", FakeBackend(), trained_by("reward", fake_run.training()), spec=spec_of("reward"))
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "loss, smoothed")
        await pilot.press("v")
        await shown(pilot, "Pairs told apart, smoothed")
        await pilot.press("v", "v", "v", "v", "v")
        await shown(pilot, "loss, smoothed")


async def test_the_plot_of_grpo_is_the_reward_because_its_loss_says_little() -> None:
    events = [*trained_by("grpo", fake_run.training()), scored(34)]
    app = app_on("live", FakeBackend(), events, spec=spec_of("grpo"))
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "Reward, smoothed")
        await pilot.press("8")
        await shown(pilot, "Written at step 34", "<answer>41</answer>")


async def test_new_numbers_appear_while_it_trains() -> None:
    backend = FakeBackend()
    app = app_on("live", backend, fake_run.prepared(), spec=spec_of("dpo"))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("7")
        await shown(pilot, "appear here with the first steps")
        backend.feed(trained_by("dpo", fake_run.training())[len(fake_run.prepared()) :])
        await shown(pilot, "Reward margin", "0.645")


# The comparison


def compared(*methods: str) -> list[ComparedRun]:
    ended = ev.EngineEnded(exit_code=0)
    folders: list[RunFolder] = [
        made(f"run {number}", [*trained_by(name, fake_run.finished()), ended], START + 9000 * number, method=name)
        for number, name in enumerate(methods)
    ]
    return read(folders)


@pytest.mark.parametrize(
    ("methods", "metric", "why"),
    [
        (("sft", "sft"), "", ""),
        (("sft", "cpt"), "", ""),
        (("dpo", "dpo"), "", ""),
        (("dpo", "kto"), "rewards/margins", "Losses of different methods cannot be compared: the plot shows"),
        (("grpo", "grpo"), "reward", "The loss of this method says little"),
        (("sft", "dpo"), "", "and these have no number in common"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_what_the_comparison_plots(methods: tuple[str, ...], metric: str, why: str) -> None:
    key, reason = compared_metric(compared(*methods))
    assert key == metric
    assert why in reason
    assert bool(why) == bool(reason)


async def test_the_comparison_has_the_numbers_side_by_side() -> None:
    app = LorisApp(backend=FakeBackend(alive=False), language="en")
    app.compared = tuple(one.run.folder for one in compared("dpo", "kto"))
    app._start = "compare"  # type: ignore[assignment]
    async with app.run_test(size=(120, 36)) as pilot:
        await shown(pilot, "Reward margin  A 0.8392  B 0.8392", "Pairs told apart  A 1.678", "KTO · completed")
        assert "Reward margin, smoothed" in screen_text(app)


# Home


async def test_home_names_the_method_of_a_run() -> None:
    made("told apart", fake_run.finished(), method="dpo")
    app = LorisApp(language="en", backend=RecordingBackend())
    async with app.run_test(size=(120, 36)) as pilot:
        await shown(pilot, "told apart")
        line = next(line for line in screen_text(app).splitlines() if "told apart" in line)
        assert "· DPO ·" in line


@pytest.fixture
def all_demos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for choice in CHOICES.values():
        save_spec(tmp_path / f"{choice.preset}.yaml", spec_of(choice.method, choice.full_finetuning))
    monkeypatch.setattr(presets, "shipped_folder", lambda: tmp_path)


@pytest.mark.parametrize("name", [name for name in CHOICES if name != "sft"])
async def test_the_demos_are_one_row_on_home(name: str, all_demos: None) -> None:
    app = LorisApp(language="en", backend=RecordingBackend())
    choice = CHOICES[name]
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "demos of other methods")
        assert "demo-" not in screen_text(app)
        await pilot.press("down", "enter")
        await on_screen(pilot, ListDialog)
        await pilot.press(*["down"] * (list(CHOICES).index(name) - 1), "enter")
        await until(pilot, at_step(pilot, "review"))
        await settle(pilot)
        assert (app.draft[METHOD], app.draft["model.full_finetuning"]) == (choice.method, choice.full_finetuning)
