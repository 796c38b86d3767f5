"""The training methods. To add one: a line and a module here, and a module in `engine.training.methods`.

This package holds what forms, checks and screens need of a method. It imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from engine.config.methods import sft
from engine.config.methods.method import Method
from engine.config.section import Section

METHODS: dict[str, Method] = {
    "sft": sft.METHOD,
}

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]


class MethodSections(Section, frozen=True, kw_only=True):
    """Settings of single methods, each section under the method's name."""


def metric_title(key: str) -> str:
    """The title of a metric, to be translated; the trainer's own name if no method lists it."""
    found = (metric.title for method in METHODS.values() for metric in method.metrics if metric.key == key)
    return next(found, key)
