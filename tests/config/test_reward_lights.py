"""The lights of a reward model: by which numbers each is lit, and not before there are enough."""

from __future__ import annotations

import pytest

from engine.config.methods.reward import ENOUGH_STEPS, lights


def steps(count: int = ENOUGH_STEPS, **metrics: float) -> list[dict[str, float]]:
    return [metrics] * count


def levels(history: list[dict[str, float]]) -> dict[str, str]:
    return {light.metric: light.level for light in lights(history)}


@pytest.mark.parametrize(
    ("accuracy", "level"), [(1.0, "good"), (0.7, "good"), (0.65, "doubtful"), (0.55, "bad"), (0.3, "bad")]
)
def test_the_share_of_pairs_told_apart(accuracy: float, level: str) -> None:
    assert levels(steps(accuracy=accuracy)) == {"accuracy": level}


def test_the_mean_of_the_last_steps_counts() -> None:
    assert levels([*steps(3, accuracy=0.4), *steps(7, accuracy=0.9)]) == {"accuracy": "good"}


def test_a_margin_that_is_not_positive_is_bad() -> None:
    assert levels(steps(margin=0.2)) == {"margin": "good"}
    assert levels(steps(margin=-0.2)) == {"margin": "bad"}


def test_scores_that_run_away_are_doubtful() -> None:
    assert levels(steps(min_reward=-19.0, max_reward=19.0)) == {}
    assert levels(steps(min_reward=-21.0, max_reward=1.0)) == {"max_reward": "doubtful"}


def test_nothing_is_lit_too_early() -> None:
    assert levels(steps(ENOUGH_STEPS - 1, accuracy=0.1, margin=-1.0)) == {}
    assert levels([]) == {}
