"""The description of a training method for forms, checks and screens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from engine.messages.message import Message

if TYPE_CHECKING:
    from engine.config.run_spec import RunSpec


class Metric(msgspec.Struct, frozen=True):
    """A number that the trainer logs with each step. `title`: its name on screens, marked with `N_`."""

    key: str
    title: str


def no_rules(spec: RunSpec) -> Iterable[tuple[str, Message]]:
    return ()


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """One way to train. Texts are marked with `N_`.

    `kinds`: the kinds of data that it learns from, by the names of `engine.dataset.mapping`. `metrics`: what its
    trainer logs in addition to the loss. `rules`: yields (field, message) for each broken rule across fields.
    `trainer`: the module whose `METHOD` is a subclass of `engine.training.method.TrainingMethod`.
    """

    title: str
    description: str
    kinds: tuple[str, ...]
    trainer: str
    metrics: tuple[Metric, ...] = ()
    rules: Callable[[RunSpec], Iterable[tuple[str, Message]]] = no_rules
