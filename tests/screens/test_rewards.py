"""Rewards in the wizard: the trial's dialog, and the question before functions of the user's run."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable

from engine.config.check import build_spec
from engine.config.run_spec import RunSpec
from engine.messages.message import Message, say
from engine.protocol import events as ev
from engine.protocol.commands import AnyReply, Command, Done, Refused, TryRewards
from engine.runs.consent import are_rewards_allowed
from tests.helpers.fake_run import SIZES, screen_text
from tests.helpers.waiting import until
from tests.helpers.wizard_driver import RecordingBackend, at_step, settle
from tui.app import LorisApp
from tui.dialogs.ask import FileQuestion
from tui.dialogs.rewards_trial import RewardsTrialDialog
from tui.screens.live import LiveScreen
from tui.state.draft import Draft

LANGUAGES = ["en", "zh"]
READY = [
    ev.EngineStarted(pid=1, hostname="gpu-1", versions={}),
    ev.StageChanged(stage="loading"),
    ev.StageChanged(stage="ready"),
]
FUNCTION = (
    "def short(completion, answer, row):\n    # [red]shorter is better[/]\n    return 1 / (1 + len(completion))\n"
)


def scored(prompt: str, answer: str, scores: dict[str, float | None], cut: bool = False) -> ev.ScoredAnswer:
    total = sum(value for value in scores.values() if value is not None)
    return ev.ScoredAnswer(prompt=prompt, answer=answer, scores=scores, reward=total, cut=cut)


def trial(*format_scores: float) -> ev.Completions:
    prompts = ("<|user|>\nNatalia sold 48 clips in April and half as many in May. How many?<|assistant|>\n",
               "<|user|>\n小明有 3 个苹果，又买了 5 个，一共有几个？<|assistant|>\n")  # fmt: skip
    answers = ("In May she sold 24 [b]clips[/b],\nso 72 in all.", "<think>3 + 5</think><answer>8</answer>")
    return ev.Completions(step=0, answers=tuple(
        scored(prompt, answer, {"answer": float(n), "format": score, "similarity_to_reference": None}, cut=not n)
        for prompt in prompts
        for n, (answer, score) in enumerate(zip(answers, format_scores, strict=True))
    ))  # fmt: skip


class TryingBackend(RecordingBackend):
    """An engine that is ready at once and answers a trial."""

    def __init__(self, result: ev.Completions, note: Message | None = None, refused: str = "") -> None:
        super().__init__()
        self._result, self._note, self._refused = result, note, refused
        self.answer = self._answer

    def launch(self, folder: Any, mode: Any) -> None:
        super().launch(folder, mode)
        self.feed(READY)

    async def _answer(self, command: Command) -> AsyncGenerator[AnyReply, None]:
        if isinstance(command, TryRewards) and self._refused:
            yield Refused(id=command.id, code="rewards_file", message=say(self._refused), field="grpo.rewards_file")
        elif isinstance(command, TryRewards):
            self.feed([self._result])
            yield Done(id=command.id, note=self._note)
        else:
            yield Done(id=command.id)


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    """A spec of GRPO, with relative paths: pictures must not contain this machine's."""
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"What is {n}?", "answer": str(n)} for n in range(40)]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    values = {
        "model": {"model_name": "unsloth/Qwen2-1.5B-Instruct", "load_in_4bit": False, "use_cpu": True},
        "dataset": {"path": "rows.jsonl", "format": "prompts", "instruction_column": "prompt"},
        "training": {"method": "grpo"},
        "grpo": {"rewards": ["answer", "format"]},
    }
    found, errors = build_spec(values)
    assert found, errors
    assert not errors
    return found


async def open_review(app: LorisApp, pilot: Pilot[None]) -> None:
    await settle(pilot)
    app.go("review")
    await until(pilot, at_step(pilot, "review"))
    await settle(pilot)


def with_draft(spec: RunSpec, backend: RecordingBackend, language: str = "en") -> LorisApp:
    app = LorisApp(language=language, backend=backend)
    app.draft = Draft(spec)
    return app


async def test_a_key_in_the_review_tries_the_rewards(spec: RunSpec) -> None:
    backend = TryingBackend(trial(0.0, 1.0))
    app = with_draft(spec, backend)
    async with app.run_test(size=(120, 36)) as pilot:
        await open_review(app, pilot)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "for 2 of 2 prompts" in screen_text(app))
        assert isinstance(app.screen, RewardsTrialDialog)
        (asked,) = [command for command in backend.asked if isinstance(command, TryRewards)]
        assert asked.spec.grpo.rewards == ("answer", "format")
        assert app.screen.query_one(DataTable).row_count == 2 + 4
        await pilot.press("down")
        await settle(pilot)
        assert "24 [b]clips[/b]" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, at_step(pilot, "review"))


@pytest.mark.parametrize(
    ("note", "refused", "said"),
    [(say("Nothing can be learned: it is too easy."), "", "✗ Nothing can be learned: it is too easy."),
     (None, "mine.py: f raised.", "✗ mine.py: f raised.")],
)  # fmt: skip
async def test_what_is_wrong_is_said_in_the_dialog(
    spec: RunSpec, note: Message | None, refused: str, said: str
) -> None:
    app = with_draft(spec, TryingBackend(trial(1.0, 1.0), note, refused))
    async with app.run_test(size=(80, 24)) as pilot:
        await open_review(app, pilot)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: said in screen_text(app))


async def test_other_methods_have_no_such_key(spec: RunSpec) -> None:
    backend = TryingBackend(trial(1.0, 1.0))
    app = with_draft(spec, backend)
    app.draft["training.method"] = "sft"
    app.draft["dataset.format"] = "auto"
    async with app.run_test(size=(120, 36)) as pilot:
        await open_review(app, pilot)
        await pilot.press("ctrl+t")
        await settle(pilot)
        assert not isinstance(app.screen, RewardsTrialDialog)
        assert "^t" not in screen_text(app)


@pytest.fixture
def mine(spec: RunSpec) -> Path:
    """A file of reward functions in the working folder."""
    path = Path("mine.py")
    path.write_text(FUNCTION)
    return path


async def test_functions_are_shown_and_confirmed_once(spec: RunSpec, mine: Path) -> None:
    backend = TryingBackend(trial(0.0, 1.0))
    app = with_draft(spec, backend)
    app.draft["grpo.rewards_file"] = str(mine)
    content = FUNCTION.encode()
    async with app.run_test(size=(120, 36)) as pilot:
        await open_review(app, pilot)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(app.screen, FileQuestion))
        assert "# [red]shorter is better[/]" in screen_text(app)
        await pilot.press("escape")
        await settle(pilot)
        assert not backend.launched
        assert not are_rewards_allowed(content)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: isinstance(app.screen, FileQuestion))
        await pilot.press("right", "enter")
        await until(pilot, lambda: "for 2 of 2 prompts" in screen_text(app))
        assert are_rewards_allowed(content)
        await pilot.press("escape")
        await until(pilot, at_step(pilot, "review"))
        await pilot.press("ctrl+r")  # it is allowed: nothing is asked again
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("state", ["trial", "nothing", "file"])
def test_pictures(snap_compare: Any, spec: RunSpec, state: str, size: tuple[int, int], language: str) -> None:
    nothing = say(
        "Nothing can be learned: all answers to a prompt score the same by {names}. Add a check that tells them "
        "apart.",
        names="answer, format, similarity_to_reference",
    )
    backend = TryingBackend(trial(0.0, 0.25), nothing if state == "nothing" else None)
    app = with_draft(spec, backend, language)
    if state == "file":
        Path("mine.py").write_text(FUNCTION + "\n\n" + FUNCTION.replace("short", "shorter") * 3)
        app.draft["grpo.rewards_file"] = "mine.py"

    async def arrange(pilot: Pilot[None]) -> None:
        await open_review(app, pilot)
        await pilot.press("ctrl+t")
        if state == "file":
            await until(pilot, lambda: isinstance(app.screen, FileQuestion))
        else:
            await until(
                pilot, lambda: bool(app.screen.query(DataTable)) and app.screen.query_one(DataTable).row_count
            )
            await pilot.press("down")
        await settle(pilot)

    assert snap_compare(app, terminal_size=size, run_before=arrange)
