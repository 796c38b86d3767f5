"""The trial of rewards: answers of a real model, their scores, and why nothing can be learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import msgspec
import pytest

from engine.config.rewards import Regex
from engine.config.run_spec import RunSpec
from engine.model import loading
from engine.protocol import events as ev
from engine.protocol.state import RunState, read_state
from engine.rewards import trial
from engine.rewards.trial import why_nothing_is_learned
from engine.runtime.event_writer import EventWriter
from tests.helpers.engine_process import with_changes

pytest_plugins = ["tests.helpers.proof_fixtures"]


def rows(*questions: str) -> list[dict[str, str]]:
    """Rows as the trainer gets them."""
    return [
        {"prompt": f"<|user|>{one}<|assistant|>", "answer": "", "row": json.dumps({"prompt": one})}
        for one in questions
    ]


def with_grpo(demo: RunSpec, **grpo: Any) -> RunSpec:
    short = {"max_completion_length": 24, "num_generations": 8, **grpo}
    return with_changes(demo, training={"method": "grpo"}, grpo=short)


@pytest.fixture(scope="module")
def loaded(demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> loading.Loaded:
    return loading.load(demo.model, EventWriter(tmp_path_factory.mktemp("load") / "events.jsonl"))


def try_with(loaded: loading.Loaded, spec: RunSpec, place: Path, *questions: str) -> RunState:
    record = EventWriter(place / "events.jsonl")
    trial.try_rewards(loaded, spec, rows(*questions), record, lambda: False)
    return read_state(place / "events.jsonl")


def test_a_real_model_answers_and_every_check_scores(loaded: loading.Loaded, demo: RunSpec, tmp_path: Path) -> None:
    import torch

    spec = with_grpo(demo, rewards=("answer", Regex(pattern="[aeiou]$", weight=2), "format"))
    before, training = torch.random.get_rng_state(), loaded.model.training
    questions = [f"What is {n}?" for n in range(12)]
    state = try_with(loaded, spec, tmp_path, "What is 0?", *questions)
    assert torch.equal(torch.random.get_rng_state(), before)  # the training after it is as without it
    assert loaded.model.training == training
    assert state.trial
    assert state.completions is None
    answers = state.trial.answers
    assert len(answers) == 8 * 4  # different prompts, and at most 4 answers to each
    assert len({answer.prompt for answer in answers}) == 8
    assert len({answer.answer for answer in answers}) > 4
    for answer in answers:
        assert list(answer.scores) == ["answer", "regex", "format"]
        assert answer.scores["answer"] is None  # there is no reference
        assert answer.reward == 2 * (answer.scores["regex"] or 0) + (answer.scores["format"] or 0)
    again = try_with(loaded, spec, tmp_path, *questions)
    assert again.trial
    assert again.trial.answers == answers  # by the seed


def test_rewards_without_spread_are_reported(loaded: loading.Loaded, demo: RunSpec, tmp_path: Path) -> None:
    state = try_with(loaded, with_grpo(demo, rewards=("format",), max_completion_length=3), tmp_path, "Hi", "Who?")
    (notice,) = state.notices
    assert notice.code == trial.NOTHING_LEARNED
    assert notice.level == "warning"
    assert "was cut at 3 tokens" in str(notice.message)


def test_a_prompt_without_room_and_a_cancelled_trial_report_nothing(
    loaded: loading.Loaded, demo: RunSpec, tmp_path: Path
) -> None:
    spec = with_grpo(demo, rewards=("format",))
    state = try_with(loaded, spec, tmp_path, "long " * spec.model.max_seq_length)
    assert state.trial
    assert state.trial.answers == ()
    assert not state.notices
    record = EventWriter(tmp_path / "cancelled.jsonl")
    trial.try_rewards(loaded, spec, rows("Hi"), record, lambda: True)
    assert read_state(tmp_path / "cancelled.jsonl").trial is None


def answer(text: str, cut: bool = False, **scores: float | None) -> ev.ScoredAnswer:
    total = sum(value for value in scores.values() if value is not None)
    return ev.ScoredAnswer(prompt="Q", answer=text, scores=scores, reward=total, cut=cut)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ([[answer("a", a=1.0), answer("b", a=0.0)], [answer("c", a=1.0), answer("d", a=1.0)]], None),
        ([[answer("a", a=None), answer("b", a=None)]], "no check applies"),
        ([[answer("a", cut=True, a=0.0), answer("b", cut=True, a=0.0)]], "every answer was cut at 256 tokens"),
        ([[answer("a", cut=True, a=0.0), answer("b", cut=True, a=1.0)]], None),
        ([[answer("a", a=0.5), answer("a", a=0.5)], [answer("b", a=0.0)]], "the same answer to a prompt each time"),
        ([[answer("a", a=1.0, b=0.5), answer("b", a=1.0, b=0.5)]], "score the same by a, b"),
        ([[answer("a", a=1.0), answer("b", a=1.0)]], "too easy"),
        ([[answer("a", a=0.0), answer("b", a=0.0)]], "too hard"),
        ([[answer("a", a=0.5), answer("b", a=0.5)], [answer("c", a=0.0), answer("d", a=0.0)]], "the same by a"),
        ([], None),
    ],
)  # fmt: skip
def test_why_nothing_is_learned(groups: list[list[ev.ScoredAnswer]], said: str | None) -> None:
    found = why_nothing_is_learned(groups, RunSpec())
    assert (said in str(found)) if said else found is None


def test_ignored_cut_answers_teach_nothing_even_with_spread() -> None:
    spec = RunSpec()
    masked = msgspec.structs.replace(spec, grpo=msgspec.structs.replace(spec.grpo, mask_truncated_completions=True))
    groups = [[answer("a", cut=True, a=0.0), answer("b", cut=True, a=1.0)]]
    assert "cut answers are ignored" in str(why_nothing_is_learned(groups, masked))
