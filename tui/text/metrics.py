"""What a training method reports of itself, in words: each number under its title."""

from __future__ import annotations

from collections.abc import Mapping

from engine.config.methods import metric_title
from tui.text.translation import _


def metric_rows(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """(title, value) of each, in the order in which they were reported."""
    return [(_(metric_title(key)), f"{value:.4g}") for key, value in metrics.items()]


def metric_words(metrics: Mapping[str, float]) -> list[str]:
    """Such as "margin 0.52", one for each."""
    return [f"{title} {value}" for title, value in metric_rows(metrics)]
