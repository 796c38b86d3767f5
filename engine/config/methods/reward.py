"""Reward models, for forms, checks and screens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from engine.config.methods import preference
from engine.config.methods.method import History, Light, Method, Metric
from engine.config.section import Section, about
from engine.messages.message import N_, Message, say

if TYPE_CHECKING:
    from engine.config.run_spec import RunSpec

ENOUGH_STEPS = 5  # logged steps before a light is lit
GOOD_ACCURACY = 0.7
CHANCE = 0.55  # at most: chosen and rejected answers are scored alike
LARGEST_SCORE = 20.0  # beyond it, scores mean little to whoever reads them


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


def rules(spec: RunSpec) -> Iterable[tuple[str, Message]]:
    """What a reward model does not support."""
    yield from preference.rules(spec)
    if spec.model.new_tokens:
        yield "model.new_tokens", say("A reward model cannot learn new tokens: leave this empty.")
    if spec.export.gguf:
        yield "export.gguf", say("llama.cpp has no score head: a reward model cannot become a GGUF file.")
    if spec.generation.prompts_at_checkpoints:
        yield "generation.prompts_at_checkpoints", say("A reward model writes no answers: turn this off.")


def lights(history: History) -> Iterable[Light]:
    """Means over the last logged steps: at least 70% of the pairs told apart is good, at most 55% is chance."""
    if len(history) < ENOUGH_STEPS:
        return
    if accuracies := [step["accuracy"] for step in history if "accuracy" in step]:
        yield _accuracy_light(sum(accuracies) / len(accuracies))
    if margins := [step["margin"] for step in history if "margin" in step]:
        yield _margin_light(sum(margins) / len(margins))
    largest = max(
        (abs(step.get(key, 0.0)) for step in history for key in ("min_reward", "max_reward")), default=0.0
    )
    if largest > LARGEST_SCORE:
        message = say("A score reached {score}: centre the scores with 0.01, or lower the learning rate.",
                      score=round(largest))  # fmt: skip
        yield Light("max_reward", "doubtful", message)


def _accuracy_light(mean: float) -> Light:
    percent = round(100 * mean)
    if mean >= GOOD_ACCURACY:
        return Light("accuracy", "good", say("{percent}% of the pairs are told apart.", percent=percent))
    if mean > CHANCE:
        return Light("accuracy", "doubtful", say("{percent}% of the pairs are told apart; guessing gives 50%.",
                                                 percent=percent))  # fmt: skip
    message = say(
        "{percent}% of the pairs are told apart, as by guessing: nothing is learned yet.", percent=percent
    )
    return Light("accuracy", "bad", message)


def _margin_light(mean: float) -> Light:
    if mean > 0:
        return Light("margin", "good", say("Chosen answers score higher than rejected ones."))
    return Light("margin", "bad", say("Rejected answers score as high as chosen ones: nothing is learned yet."))


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
    defaults={
        "training.learning_rate": 1e-4,
        "dataset.train_on_responses_only": True,
        "generation.prompts": (),
    },
    rules=rules,
    lights=lights,
    scores=True,
)
