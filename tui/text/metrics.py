"""A training method's own metrics: titles, values, and what they say about the training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from engine.config.methods import METHODS, metric_title
from engine.config.methods.method import Level, Light
from engine.protocol.state import RunState
from tui.text.sanitize import visible
from tui.text.translation import N_, render

MOST_IN_A_LINE = 2  # of a method's metrics; the others are in its pane and in --json
# The loss of these says little: GRPO's stays near zero while the rewards rise.
LOSS_SAYS_LITTLE = ("grpo",)
# (sign, words, style): understood without colour.
LEVELS: dict[Level, tuple[str, str, str]] = {
    "good": ("✓", N_("good"), "bold $success"),
    "doubtful": ("?", N_("doubtful"), "bold $warning"),
    "bad": ("✗", N_("nothing is learned"), "bold $error"),
}
_WORST_FIRST: tuple[Level, ...] = ("bad", "doubtful", "good")


def _place(key: str) -> int:
    """How far in front a method lists this metric; the last place for one of a later Loris."""
    places = (
        place
        for method in METHODS.values()
        for place, metric in enumerate(method.metrics)
        if fnmatchcase(key, metric.key)
    )
    return min(places, default=1000)


def title_of(key: str) -> str:
    """The metric's name for people. Foreign text in it is sanitised."""
    return visible(render(metric_title(key)))


def in_order(keys: Iterable[str]) -> list[str]:
    """The metrics as their methods list them: the one that says most first."""
    return sorted(keys, key=_place)


def number(value: float | None) -> str:
    """A metric's value, short."""
    return "" if value is None else f"{value:.4g}"


def describe_metrics(metrics: Mapping[str, float]) -> list[str]:
    """For example "Reward margin 0.52": the first two metrics."""
    return [f"{title_of(key)} {number(metrics[key])}" for key in in_order(metrics)[:MOST_IN_A_LINE]]


def lights_of(method: str, state: RunState) -> list[Light]:
    """What the metrics of the last steps say, the worst first."""
    if method not in METHODS or not state.recent_metrics:
        return []
    return sorted(METHODS[method].lights(list(state.recent_metrics)), key=lambda one: _WORST_FIRST.index(one.level))
