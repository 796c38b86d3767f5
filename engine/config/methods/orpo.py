"""Odds-ratio preference optimization, for forms, checks and screens."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Annotated

from engine.config.methods import preference
from engine.config.methods.method import Method, Metric
from engine.config.methods.preference_lights import pair_lights
from engine.config.section import Section, about
from engine.messages.message import N_, Message

if TYPE_CHECKING:
    from engine.config.run_spec import RunSpec


class OrpoSpec(Section, frozen=True, kw_only=True):
    """The arguments of `trl.experimental.orpo.ORPOConfig` that only it has."""

    beta: Annotated[
        float,
        about(
            N_("Beta"),
            N_("How much the preference counts beside learning the chosen answers. 0.1 is the usual."),
            gt=0,
            le=100,
        ),
    ] = 0.1


def rules(spec: RunSpec) -> Iterable[tuple[str, Message]]:
    return chain(preference.rules(spec), preference.without_dropout(spec))


METHOD = Method(
    title=N_("Answers and preferences at once (ORPO)"),
    description=N_(
        "The model learns the chosen answers and to prefer them, in one training. Right for a base model, with no "
        "SFT before."
    ),
    data=N_("Pairs: a prompt with a chosen and a rejected answer."),
    memory=N_("About twice the activations of SFT for the same batch; no reference."),
    preset="demo-orpo",
    kinds=("preference",),
    trainer="engine.training.methods.orpo",
    metrics=(
        *preference.REWARDS,
        Metric("nll_loss", N_("Loss of the chosen answers")),
        Metric("log_odds_ratio", N_("Log odds ratio")),
    ),
    defaults={"training.learning_rate": 8e-6, "dataset.train_on_responses_only": True},
    rules=rules,
    lights=pair_lights,
)
