"""What forms, checks and screens need of a training method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from engine.messages.message import Message

if TYPE_CHECKING:
    from engine.config.run_spec import RunSpec

Level = Literal["good", "doubtful", "bad"]


class Metric(msgspec.Struct, frozen=True):
    """A number that the trainer logs with each step. `title`: its name on screens, marked with `N_`."""

    key: str
    title: str


class Light(msgspec.Struct, frozen=True):
    """What a metric says about a training. `level` bad: nothing is learned. `message`: why, by which rule."""

    metric: str
    level: Level
    message: Message


# The metrics of the last logged steps, at most `LIGHT_STEPS`, the newest last.
History = Sequence[Mapping[str, float]]
LIGHT_STEPS = 10


def no_rules(spec: RunSpec) -> Iterable[tuple[str, Message]]:
    return ()


def no_lights(history: History) -> Iterable[Light]:
    return ()


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """One way to train. Texts are marked with `N_`.

    `description`: what it does, and when it is right. `data`: what it needs of the data. `memory`: what it costs
    beside SFT. `preset`: the file stem of the demo that ships with Loris. `kinds`: the kinds of data it accepts, as
    named in `engine.dataset.mapping`. `metrics`: what its trainer logs besides the loss. `defaults`: of fields, by
    dotted path, where they differ from SFT's. `rules`: (field, message) of each rule across fields that a spec
    breaks. `lights`: what the metrics say. `full_finetuning`: whether it can train the whole model.
    `loss_is_likelihood`: whether its loss is the mean negative log-likelihood of the learned tokens. `scores`:
    whether the model scores texts instead of writing them. `trainer`: the module with its `METHOD`, a subclass of
    `engine.training.method.TrainingMethod`.
    """

    title: str
    description: str
    data: str
    memory: str
    preset: str
    kinds: tuple[str, ...]
    trainer: str
    metrics: tuple[Metric, ...] = ()
    defaults: Mapping[str, Any] = {}
    rules: Callable[[RunSpec], Iterable[tuple[str, Message]]] = no_rules
    lights: Callable[[History], Iterable[Light]] = no_lights
    full_finetuning: bool = False
    loss_is_likelihood: bool = False
    scores: bool = False
