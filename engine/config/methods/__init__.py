"""The training methods. To add one: a line and a module here, and a module in `engine.training.methods`.

This package holds what forms, checks and screens need of a method. It imports nothing heavy.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from engine.config.methods import cpt, dpo, grpo, kto, orpo, reward, sft
from engine.config.methods.cpt import CptSpec
from engine.config.methods.dpo import DpoSpec
from engine.config.methods.grpo import GrpoSpec
from engine.config.methods.kto import KtoSpec
from engine.config.methods.method import Method
from engine.config.methods.orpo import OrpoSpec
from engine.config.methods.reward import RewardSpec
from engine.config.section import Section
from engine.messages.message import Message, say

METHODS: dict[str, Method] = {
    "sft": sft.METHOD,
    "cpt": cpt.METHOD,
    "dpo": dpo.METHOD,
    "orpo": orpo.METHOD,
    "kto": kto.METHOD,
    "grpo": grpo.METHOD,
    "reward": reward.METHOD,
}
FULL_FINETUNING = "model.full_finetuning"
# Where training the whole model differs from training an adapter.
FULL_DEFAULTS: dict[str, Any] = {"training.learning_rate": 2e-5, "model.load_in_4bit": False}

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]


class MethodSections(Section, frozen=True, kw_only=True):
    """Settings of single methods, each section under the method's name."""

    cpt: CptSpec = CptSpec()
    dpo: DpoSpec = DpoSpec()
    orpo: OrpoSpec = OrpoSpec()
    kto: KtoSpec = KtoSpec()
    grpo: GrpoSpec = GrpoSpec()
    reward: RewardSpec = RewardSpec()


def method_defaults(method: str, full_finetuning: bool) -> dict[str, Any]:
    """The defaults of fields, by dotted path, where they differ from those of SFT with an adapter."""
    found = dict(METHODS[method].defaults) if method in METHODS else {}
    return {**found, **FULL_DEFAULTS} if full_finetuning else found


def metric_title(key: str) -> Message:
    """The title of a metric; the trainer's own name if no method lists it."""
    for metric in (metric for method in METHODS.values() for metric in method.metrics):
        if metric.key == key:
            return say(metric.title)
        before, star, after = metric.key.partition("*")
        if star and fnmatchcase(key, metric.key):
            return say(metric.title, check=key.removeprefix(before).removesuffix(after))
    return say("{name}", name=key)


def is_metric(method: str, key: str) -> bool:
    """Whether a method reports this number of its trainer. A method can list patterns, such as rewards/*/mean."""
    return any(fnmatchcase(key, metric.key) for metric in METHODS[method].metrics)
