"""What forms, checks and screens need of a training method."""

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

    `kinds`: the kinds of data it accepts, as named in `engine.dataset.mapping`. `metrics`: what its trainer logs
    besides the loss. `rules`: (field, message) of each rule across fields that a spec breaks. `trainer`: the module
    with its `METHOD`, a subclass of `engine.training.method.TrainingMethod`.
    """

    title: str
    description: str
    kinds: tuple[str, ...]
    trainer: str
    metrics: tuple[Metric, ...] = ()
    rules: Callable[[RunSpec], Iterable[tuple[str, Message]]] = no_rules
