"""Kahneman-Tversky optimization, for forms, checks and screens."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Literal

from engine.config.methods import preference
from engine.config.methods.method import History, Light, Method, Metric
from engine.config.methods.preference_lights import falling_lights, vote_lights
from engine.config.section import Section, about
from engine.messages.message import N_, Message, say

if TYPE_CHECKING:
    from engine.config.run_spec import RunSpec


SMALLEST_BATCH = 2  # of the loss kto: each answer is compared with another one of its batch


class KtoSpec(Section, frozen=True, kw_only=True):
    """The arguments of `trl.KTOConfig` that only it has."""

    beta: Annotated[
        float,
        about(
            N_("Beta"),
            N_("How strongly the model is held to what it was before. 0.1 is the usual."),
            gt=0,
            le=100,
        ),
    ] = 0.1
    loss_type: Annotated[
        Literal["kto", "apo_zero_unpaired"],
        about(
            N_("Loss"),
            N_(
                "kto is the method as published. apo_zero_unpaired suits good answers that are better than the "
                "model's own, and allows a batch size of 1."
            ),
        ),
    ] = "kto"
    desirable_weight: Annotated[
        float,
        about(
            N_("Weight of good answers"),
            N_("Raise it if there are far fewer good answers than bad ones, so that both count alike."),
            gt=0,
            le=1000,
        ),
    ] = 1.0
    undesirable_weight: Annotated[
        float,
        about(
            N_("Weight of bad answers"),
            N_("Raise it if there are far fewer bad answers than good ones, so that both count alike."),
            gt=0,
            le=1000,
        ),
    ] = 1.0


def rules(spec: RunSpec) -> Iterable[tuple[str, Message]]:
    yield from chain(
        preference.rules(spec), preference.without_dropout(spec), preference.without_adapter_on_head(spec)
    )
    if spec.kto.loss_type != "kto":
        return
    if spec.training.per_device_train_batch_size < SMALLEST_BATCH:
        message = say("KTO compares answers within a batch: set 2 or more, or loss_type: apo_zero_unpaired.")
        yield "training.per_device_train_batch_size", message
    if spec.training.train_sampling_strategy == "random":
        message = say(
            "KTO compares each answer with its neighbours: take sequential, and mix good and bad votes in the file."
        )
        yield "training.train_sampling_strategy", message


def lights(history: History) -> Iterable[Light]:
    """By `vote_lights` and `falling_lights`."""
    return chain(vote_lights(history), falling_lights(history))


METHOD = Method(
    title=N_("Votes (KTO)"),
    description=N_(
        "The model learns from single answers that were good or bad. Right for thumbs up and down of real users, "
        "where no answer has a counterpart."
    ),
    data=N_("A prompt, an answer, and whether it was good; pairs work too, as two votes."),
    memory=N_(
        "About twice the activations of SFT for the same batch: the reference, and mixed answers to compare."
    ),
    preset="demo-kto",
    kinds=("votes", "preference"),
    trainer="engine.training.methods.kto",
    metrics=(
        preference.MARGIN,
        *preference.SIDES,
        Metric("kl", N_("Distance from the reference (KL)")),
    ),
    defaults={
        "training.learning_rate": 5e-6,
        # TRL's own default. Each vote is paired with its neighbour before training, so the order must stay.
        "training.train_sampling_strategy": "sequential",
        "dataset.train_on_responses_only": True,
    },
    rules=rules,
    lights=lights,
)
