"""What the methods that learn from pairs of answers have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from engine.config.methods.method import Metric
from engine.messages.message import N_, Message, say

if TYPE_CHECKING:
    from engine.config.run_spec import RunSpec

REWARDS = (
    Metric("rewards/margins", N_("Reward margin")),
    Metric("rewards/accuracies", N_("Pairs told apart")),
    Metric("rewards/chosen", N_("Reward, chosen")),
    Metric("rewards/rejected", N_("Reward, rejected")),
)


def rules(spec: RunSpec) -> Iterable[tuple[str, Message]]:
    """What no method of pairs, votes or rewards supports."""
    if spec.training.packing:
        yield "training.packing", say("The method {method} does not pack rows: turn this off.",
                                      method=spec.training.method)  # fmt: skip
    if spec.dataset.last_answer_only:
        message = say("The method {method} always learns the last answer only: turn this off.",
                      method=spec.training.method)  # fmt: skip
        yield "dataset.last_answer_only", message
    if spec.training.neftune_noise_alpha:
        message = say("NEFTune is for supervised fine-tuning: set it to 0.")
        yield "training.neftune_noise_alpha", message
