"""What the methods that learn from pairs of answers have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from engine.config.methods.method import Metric
from engine.messages.message import N_, Message, say

if TYPE_CHECKING:
    from engine.config.run_spec import RunSpec

MARGIN = Metric("rewards/margins", N_("Reward margin"))
SIDES = (Metric("rewards/chosen", N_("Reward, chosen")), Metric("rewards/rejected", N_("Reward, rejected")))
REWARDS = (MARGIN, Metric("rewards/accuracies", N_("Pairs told apart")), *SIDES)


def rules(spec: RunSpec) -> Iterable[tuple[str, Message]]:
    """What no method of pairs, votes or rewards supports."""
    if spec.training.packing:
        yield "training.packing", say("The method {method} does not pack rows: turn this off.",
                                      method=spec.training.method)  # fmt: skip
    if spec.dataset.last_answer_only:
        message = say("The method {method} always learns the last answer only: turn this off.",
                      method=spec.training.method)  # fmt: skip
        yield "dataset.last_answer_only", message
    if not spec.dataset.train_on_responses_only:
        message = say("The method {method} learns from the answers only: turn this on.",
                      method=spec.training.method)  # fmt: skip
        yield "dataset.train_on_responses_only", message
    if spec.training.neftune_noise_alpha:
        message = say("NEFTune is for supervised fine-tuning: set it to 0.")
        yield "training.neftune_noise_alpha", message
    if spec.training.train_sampling_strategy == "group_by_length":
        message = say("The method {method} cannot sort rows by length: take random or sequential.",
                      method=spec.training.method)  # fmt: skip
        yield "training.train_sampling_strategy", message


def without_dropout(spec: RunSpec) -> Iterable[tuple[str, Message]]:
    """TRL trains preferences with all dropout off, so that the same answer has the same reward."""
    if spec.lora.lora_dropout:
        yield "lora.lora_dropout", say("The method {method} trains without dropout: set it to 0.",
                                       method=spec.training.method)  # fmt: skip


def without_adapter_on_head(spec: RunSpec) -> Iterable[tuple[str, Message]]:
    """TRL computes log-probabilities from the weights of lm_head alone: an adapter on it would not be trained."""
    if "lm_head" in spec.lora.target_modules:
        message = say("The method {method} cannot train an adapter on lm_head: leave it out.",
                      method=spec.training.method)  # fmt: skip
        yield "lora.target_modules", message
