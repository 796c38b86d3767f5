"""What the rewards of DPO, ORPO and KTO say about a training, by stated rules."""

from __future__ import annotations

import pytest

from engine.config.methods import METHODS
from engine.config.methods.method import LIGHT_STEPS

Logs = list[dict[str, float]]


def logs(
    margins: list[float], accuracy: float = 1.0, chosen: float = 0.0, rejected: float = 0.0, **more: float
) -> Logs:
    """One log for each margin; `chosen` and `rejected`: how much these rewards rise with each."""
    return [
        {"rewards/margins": margin, "rewards/accuracies": accuracy, "rewards/chosen": number * chosen,
         "rewards/rejected": number * rejected, **more}
        for number, margin in enumerate(margins)
    ]  # fmt: skip


def found(method: str, history: Logs) -> list[tuple[str, str]]:
    return [(light.metric, light.level) for light in METHODS[method].lights(history)]


GROWING = [number / 10 for number in range(LIGHT_STEPS)]
SHRINKING = [-margin for margin in GROWING]


@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_pairs_are_told_apart_by_chance_or_not_at_all(method: str) -> None:
    assert found(method, logs(GROWING)) == [("rewards/accuracies", "good")]
    assert found(method, logs([2.0] * LIGHT_STEPS)) == [("rewards/accuracies", "good")], "it need not grow for ever"
    assert found(method, logs(GROWING, accuracy=0.5)) == [("rewards/accuracies", "doubtful")]
    assert found(method, logs(GROWING, accuracy=0.1)) == [("rewards/accuracies", "doubtful")], "it is on its way"
    assert found(method, logs(SHRINKING, accuracy=0.2)) == [("rewards/accuracies", "bad")]
    assert found(method, logs([0.0] * LIGHT_STEPS, accuracy=0.0)) == [("rewards/margins", "bad")]
    assert found(method, logs(GROWING[1:])) == [], "too early to tell"


def test_the_messages_state_the_rule_and_what_to_do() -> None:
    (light,) = METHODS["dpo"].lights(logs(SHRINKING, accuracy=0.2))
    assert "20%, less than 40%" in str(light.message)
    assert "swapped?" in str(light.message)
    (light,) = METHODS["dpo"].lights(logs(GROWING))
    assert "100%, more than 60%" in str(light.message)


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_chosen_answers_that_become_less_likely_are_bad(method: str) -> None:
    falling = logs(GROWING, chosen=-0.3, rejected=-0.5)
    assert ("rewards/chosen", "bad") in found(method, falling)
    assert ("rewards/chosen", "bad") not in found(method, logs(GROWING, chosen=-0.1, rejected=-0.5)), "not steeply"
    assert ("rewards/chosen", "bad") not in found(method, logs(GROWING, chosen=-0.3, rejected=0.1))
    assert ("rewards/chosen", "bad") not in found("orpo", falling), "it has no reference to fall from"


def test_votes() -> None:
    assert found("kto", logs([*GROWING[1:], 1.0], kl=0.5)) == [("rewards/margins", "good")]
    mixed = [0.1, -0.1] * (LIGHT_STEPS // 2)
    assert found("kto", logs(mixed)) == [("rewards/margins", "doubtful")]
    assert found("kto", logs(SHRINKING)) == [("rewards/margins", "bad")]
    one_kind: Logs = [{"rewards/chosen": 0.1}] * LIGHT_STEPS
    assert found("kto", one_kind) == [("rewards/margins", "doubtful")]
    assert found("kto", logs([])) == []


def test_a_kl_that_explodes_is_bad() -> None:
    history = [{**log, "kl": float(number * number)} for number, log in enumerate(logs([1.0] * LIGHT_STEPS))]
    assert found("kto", history) == [("rewards/margins", "good"), ("kl", "bad")]
    steady = [{**log, "kl": 30.0} for log in history]
    assert found("kto", steady) == [("rewards/margins", "good")], "high, but no longer rising"
