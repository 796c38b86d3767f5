"""The training methods that there are: a line here, a module here, and one in `engine.training.methods` make one.

What stands here is what forms, checks and screens need to know of a method. It imports nothing heavy.
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
    """The settings that belong to one method alone, each section under the method's name."""


def metric_title(key: str) -> str:
    """What screens call a metric, to be translated; the trainer's own name for one that no method tells of."""
    found = (metric.title for method in METHODS.values() for metric in method.metrics if metric.key == key)
    return next(found, key)
