"""What the rewards of a preference training say about it. Each message states its rule.

A reward is beta times how much likelier an answer has become than it was before training; in ORPO, beta times its
mean log-probability. The margin is the reward of the chosen (or good) answers less that of the others. The rules
are for the last `LIGHT_STEPS` logs, and compare the newer half of them with the older. Before that, none holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.config.methods.method import LIGHT_STEPS, History, Light
from engine.messages.message import say

MARGIN, ACCURACY = "rewards/margins", "rewards/accuracies"
CHOSEN, REJECTED = "rewards/chosen", "rewards/rejected"
TOLD_APART, BY_CHANCE = 0.6, 0.4  # shares of the pairs: above the one; below the other
UNCHANGED = 1e-6  # a margin: the model is what it was
STEEP = 1.0  # a fall of a reward: 10 nats of an answer at the usual beta of 0.1
HIGH_KL, KL_FACTOR = 20.0, 3.0  # nats an answer; times the older half


def pair_lights(history: History) -> Iterable[Light]:
    """Of pairs of answers: DPO, ORPO."""
    accuracies = values(history, ACCURACY)
    if len(history) < LIGHT_STEPS or not accuracies:
        return
    yield margin_light(values(history, MARGIN), mean(accuracies), ACCURACY)


def vote_lights(history: History) -> Iterable[Light]:
    """Of votes: KTO. Its margin is that of a batch, so the share is one of logs."""
    if len(history) < LIGHT_STEPS:
        return
    margins = values(history, MARGIN)
    if margins:
        share = sum(margin > 0 for margin in margins) / len(margins)
        yield margin_light(margins, share, MARGIN)
    else:
        message = say(
            "No batch of the last {count} logs had both good and bad votes: mix the rows.", count=len(history)
        )
        yield Light(MARGIN, "doubtful", message)
    older, newer = halves(values(history, "kl"))
    if newer > max(HIGH_KL, KL_FACTOR * older):
        message = say(
            "The KL rose from {older} to {newer}: the model drifts far from what it was. Lower the learning rate "
            "or raise beta.",
            older=round(older, 1), newer=round(newer, 1),
        )  # fmt: skip
        yield Light("kl", "bad", message)


def falling_lights(history: History) -> Iterable[Light]:
    """Of rewards against a reference, DPO and KTO: whether the model unlearns both sides."""
    chosen, rejected = (halves(values(history, key)) for key in (CHOSEN, REJECTED))
    fall = chosen[0] - chosen[1]
    if len(history) >= LIGHT_STEPS and fall > STEEP and rejected[1] < rejected[0]:
        message = say(
            "Both rewards fall, that of the chosen answers by {fall} in {count} logs: they too become less likely. "
            "Lower the learning rate or raise beta.",
            fall=round(fall, 2), count=len(history),
        )  # fmt: skip
        yield Light(CHOSEN, "bad", message)


def margin_light(margins: Sequence[float], share: float, metric: str) -> Light:
    """Good, doubtful or bad. `share`: of pairs (or logs) whose chosen side has the higher reward."""
    older, newer = halves(margins)
    shown = {"share": f"{share:.0%}", "older": f"{older:.3g}", "newer": f"{newer:.3g}"}
    if all(abs(margin) < UNCHANGED for margin in margins):
        message = say("Nothing is learned: all margins are 0. Are both sides equal, or is the learning rate 0?")
        return Light(MARGIN, "bad", message)
    if share > TOLD_APART and newer > 0:
        message = say("The chosen side wins in {share}, more than 60%; the margin is {newer}.", **shown)
        return Light(metric, "good", message)
    if share < BY_CHANCE and newer <= older:
        message = say(
            "Nothing is learned: the chosen side wins in {share}, less than 40%, and the margin shrinks from "
            "{older} to {newer}. Are the sides swapped?",
            **shown,
        )
        return Light(metric, "bad", message)
    message = say(
        "Not told apart yet: the chosen side wins in {share}, and 50% is chance; the margin went from {older} to "
        "{newer}.",
        **shown,
    )
    return Light(metric, "doubtful", message)


def values(history: History, key: str) -> list[float]:
    """A metric's values in the logs that have it."""
    return [logged[key] for logged in history if key in logged]


def halves(found: Sequence[float]) -> tuple[float, float]:
    """(the mean of the older half, the mean of the newer half); 0 if there are none."""
    middle = len(found) // 2
    return mean(found[:middle]), mean(found[middle:])


def mean(found: Sequence[float]) -> float:
    return sum(found) / len(found) if found else 0.0
