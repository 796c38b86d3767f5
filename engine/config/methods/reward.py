"""Reward models, for forms, checks and screens."""

from __future__ import annotations

from typing import Annotated

from engine.config.methods.method import Method, Metric
from engine.config.methods.preference import rules
from engine.config.section import Section, about
from engine.messages.message import N_


class RewardSpec(Section, frozen=True, kw_only=True):
    """The arguments of `trl.RewardConfig` that only it has."""

    center_rewards_coefficient: Annotated[
        float,
        about(
            N_("Centre the scores"),
            N_(
                "How strongly the scores are drawn towards 0, so that they can be compared. 0.01 is "
                "usual; 0 is off."
            ),
            ge=0,
            le=100,
        ),
    ] = 0.0


METHOD = Method(
    title=N_("Reward model"),
    description=N_(
        "The model learns to score answers, not to write them. Right as a judge for GRPO, or to sort answers."
    ),
    data=N_("Pairs: a prompt with a chosen and a rejected answer."),
    memory=N_("About twice the activations of SFT for the same batch; the last layer is one small row."),
    preset="demo-reward",
    kinds=("preference",),
    trainer="engine.training.methods.reward",
    metrics=(
        Metric("accuracy", N_("Pairs told apart")),
        Metric("margin", N_("Score margin")),
        Metric("mean_reward", N_("Mean score")),
        Metric("min_reward", N_("Lowest score")),
        Metric("max_reward", N_("Highest score")),
    ),
    defaults={"training.learning_rate": 1e-4, "dataset.train_on_responses_only": True},
    rules=rules,
)
