"""A training method's own metrics, each with its title."""

from collections.abc import Mapping

from engine.config.methods import metric_title
from tui.text.translation import render


def metric_rows(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """(title, value) of each, in the order reported."""
    return [(render(metric_title(key)), f"{value:.4g}") for key, value in metrics.items()]


def describe_metrics(metrics: Mapping[str, float]) -> list[str]:
    """For example "margin 0.52", one per metric."""
    return [f"{title} {value}" for title, value in metric_rows(metrics)]
