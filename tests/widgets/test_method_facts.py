"""The pane of a method's metrics and lights, and the pane of scored answers."""

from __future__ import annotations

import pytest

from engine.protocol import events as ev
from engine.protocol.curve import Curve
from engine.protocol.state import RunState, fold
from tests.helpers import fake_run
from tests.helpers.method_runs import WITH_METRICS, fix_lights, scored, trained_by
from tui.plots.sparkline import sparkline
from tui.text.metrics import describe_metrics, lights_of
from tui.widgets.facts import Part
from tui.widgets.method_facts import method_parts, scored_parts
from tui.widgets.status_line import progress_of


def text_of(parts: list[Part]) -> str:
    return "".join(text for text, _style in parts)


def state_of(method: str) -> RunState:
    return fold(trained_by(method, fake_run.training()))


@pytest.mark.parametrize("method", WITH_METRICS)
def test_each_metric_is_shown_with_its_value_now_and_at_the_start(method: str) -> None:
    state = state_of(method)
    shown = text_of(method_parts(method, state)).splitlines()
    for key, curve in state.metric_curves.items():
        values = f"{curve.values[-1]:.4g}", f"{curve.values[0]:.4g}"
        assert any(all(value in line for value in values) and "▁" in line for line in shown), key
    assert any("held-out" in line for line in shown)


def test_lights_have_a_word_and_a_sign_and_the_worst_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    fix_lights(monkeypatch)
    state = state_of("dpo")
    lines = text_of(method_parts("dpo", state)).splitlines()
    assert [line[:2] for line in lines[1:4]] == ["✗ ", "? ", "✓ "]
    assert "nothing is learned" in lines[1]
    assert "over 10 steps" in lines[1], "a rule sees the last 10 steps"
    assert any(line.startswith("✗ ") and "0.9" in line for line in lines[4:]), "the sign is at the metric too"
    assert [light.level for light in lights_of("dpo", state)] == ["bad", "doubtful", "good"]


def test_without_steps_the_pane_says_what_will_be_there() -> None:
    assert "appear here" in text_of(method_parts("dpo", RunState()))
    assert "appear here" in text_of(scored_parts(RunState()))
    assert lights_of("dpo", RunState()) == []


def test_the_status_line_shows_two_metrics_at_most() -> None:
    state = state_of("grpo")
    assert describe_metrics(state.metrics) == ["Reward 0.645", "Spread of the rewards 1.29"]
    facts = progress_of(state, alive=True, now=0.0).facts
    assert [fact for fact in facts if "Reward" in fact or "Spread" in fact or "entropy" in fact.lower()] == [
        "Reward 0.645", "Spread of the rewards 1.29",
    ]  # fmt: skip


def test_metrics_of_a_pattern_are_told_apart() -> None:
    state = state_of("grpo")
    shown = text_of(method_parts("grpo", state))
    assert "Reward of format" in shown
    assert "Reward of answer" in shown


def test_scored_answers_are_shown_with_each_score() -> None:
    state = fold([scored(0, (1.0, 1.0)), scored(12)])
    shown = text_of(scored_parts(state))
    assert shown.index("step 12") < shown.index("Trial of the rewards")
    assert "format 0.25 · language – · cut" in shown
    assert shown.count("nothing can be learned") == 1, "only of the trial, whose scores are all equal"
    assert "<answer>42</answer>" in shown


def test_foreign_text_in_answers_is_shown_literally() -> None:
    bad = ev.ScoredAnswer(prompt="\x1b[31m", answer="a\x1b]0;x\x07", scores={"\x1b": 1.0}, reward=1.0)
    assert "\x1b" not in text_of(scored_parts(fold([ev.Completions(step=1, answers=(bad,))])))


def test_a_sparkline_runs_from_the_lowest_to_the_highest_value() -> None:
    curve = Curve()
    for step in range(1, 41):
        curve.add(step, float(step))
    drawn = sparkline(curve, 10)
    assert len(drawn) == 10
    assert drawn[0] == "▁"
    assert drawn[-1] == "█"
    assert list(drawn) == sorted(drawn)
    assert set(sparkline(curve, 10, unicode=False)) <= set("_.-=^")
    assert sparkline(Curve(), 10) == ""
