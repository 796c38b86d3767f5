"""Supervised fine-tuning, for forms, checks and screens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from engine.config.methods.method import Method
from engine.messages.message import N_, Message, say

if TYPE_CHECKING:
    from engine.config.run_spec import RunSpec


def rules(spec: RunSpec) -> Iterable[tuple[str, Message]]:
    if spec.training.packing and spec.dataset.train_on_responses_only:
        message = say("Packing and training on responses only cannot be combined: turn one off.")
        yield "training.packing", message


METHOD = Method(
    title=N_("Supervised fine-tuning (SFT)"),
    description=N_(
        "The model learns to write the answers of the dataset. Right for most tasks, and the place to begin."
    ),
    data=N_("Questions with answers, chats, or plain texts; a few hundred good ones are enough to begin."),
    memory=N_("The least of all methods."),
    preset="demo",
    kinds=("alpaca", "messages", "text"),
    trainer="engine.training.methods.sft",
    rules=rules,
    full_finetuning=True,
    loss_is_likelihood=True,
)
