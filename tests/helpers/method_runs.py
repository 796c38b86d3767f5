"""Runs of the training methods: their events with metrics, and rules for their lights that never change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from engine.config.check import build_spec
from engine.config.fields import section_fields
from engine.config.methods import METHODS
from engine.config.methods.method import History, Light
from engine.config.run_spec import RunSpec
from engine.messages.message import say
from engine.protocol import events as ev
from tests.helpers import fake_run

# What a method needs before it can start: (field, value as typed), where its section has the field.
NEEDED = {"grpo": ("rewards", "answer")} if "rewards" in section_fields("grpo") else {}
WITH_METRICS = [name for name, method in METHODS.items() if method.metrics]


def spec_of(method: str, full_finetuning: bool = False) -> RunSpec:
    """The spec of the fake run, trained by this method with its own defaults."""
    name = fake_run.SPEC.model.model_name
    values: dict[str, Any] = {
        "name": method,
        "model": {
            "model_name": name.removesuffix("-bnb-4bit") if full_finetuning else name,
            "full_finetuning": full_finetuning,
        },
        "dataset": {"path": "data/rows.jsonl"},
        "training": {"method": method},
    }
    if method in NEEDED:
        key, value = NEEDED[method]
        values[method] = {key: [value]}
    found, errors = build_spec(values)
    assert found is not None, errors
    return found


def metrics_at(method: str, step: int) -> dict[str, float]:
    """One value for each metric of the method, rising with the steps. Of metrics by a pattern there are two."""
    keys = [
        metric.key.replace("*", name)
        for metric in METHODS[method].metrics
        for name in (("format", "answer") if "*" in metric.key else ("",))
    ]
    return {key: round((place + 1) * (1 - 0.97**step), 4) for place, key in enumerate(keys)}


def trained_by(method: str, events: Iterable[ev.AnyEvent]) -> list[ev.AnyEvent]:
    """The same run with the metrics of a method at each step and at each evaluation."""
    return [
        msgspec.structs.replace(event, metrics=metrics_at(method, event.step))
        if isinstance(event, ev.Step | ev.Evaluated) and METHODS[method].metrics
        else event
        for event in events
    ]


def scored(step: int, rewards: Iterable[float] = (1.5, 0.25)) -> ev.Completions:
    """Answers to one prompt, scored by two checks. Step 0: a trial."""
    answers = tuple(
        ev.ScoredAnswer(
            prompt="What is 6 × 7?",
            answer=f"<think>6 × 7</think>\n<answer>{41 + place}</answer>",
            scores={"format": reward, "language": None},
            reward=reward,
            cut=place == 1,
        )
        for place, reward in enumerate(rewards)
    )
    return ev.Completions(step=step, answers=answers)


def fake_lights(history: History) -> Iterable[Light]:
    """A light of each level, on the first metrics of the newest step."""
    levels = ("good", "bad", "doubtful")
    for level, (key, value) in zip(levels, history[-1].items(), strict=False):
        yield Light(key, level, say("It is {value} over {count} steps.", value=f"{value:.2f}", count=len(history)))


def fix_lights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use `fake_lights` for every method that has metrics."""
    for name in WITH_METRICS:
        monkeypatch.setitem(METHODS, name, msgspec.structs.replace(METHODS[name], lights=fake_lights))
