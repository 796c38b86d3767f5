"""Looks at the loss of the first step, in which most faults of a model, a template or a library already show."""

import traceback
from typing import Any

from engine.messages.message import Message, say
from engine.model.logits import guessing_loss, summed_loss

FAR_ABOVE_GUESSING = 1.0  # in nats
FAR, FAR_SHARE = 0.25, 0.1  # from the model's own loss: both absolute and relative


class FirstLoss:
    """The loss of the first step by the trainer, and by the model itself on the same rows before it."""

    def __init__(self, model: Any, unknown: bool = False) -> None:
        """`unknown`: the model need not know the texts, so a loss worse than guessing is no fault."""
        self.over = False  # whether the first step is over
        self._model = model
        self._trained = self._own = 0.0
        self._tokens = 0
        self._comparable = True
        self._unknown = unknown

    def before(self, batch: dict[str, Any]) -> None:
        """Measure the model's own loss on a batch that is about to be trained on. Never raises."""
        if not self._comparable:
            return
        try:
            found = summed_loss(self._model, batch)
        except Exception:
            traceback.print_exc()
            found = None
        if found is None:
            self._comparable = False
        else:
            self._own, self._tokens = self._own + found[0], self._tokens + found[1]

    def after(self, loss: float) -> None:
        """Add the trainer's loss of that batch, its share of the step's loss."""
        self._trained += loss

    def warning(self) -> Message | None:
        """What is wrong with the first loss, if anything."""
        guessing = guessing_loss(self._model)
        if not self._unknown and self._trained > guessing + FAR_ABOVE_GUESSING:
            return say(
                "The first loss is {loss}, worse than guessing ({guessing}): the chat template, the tokenizer or a "
                    "library does not fit this model. What it learns this way is of little use.",
                loss=round(self._trained, 2), guessing=round(guessing, 2),
            )  # fmt: skip
        if not (self._comparable and self._tokens):
            return None
        own = self._own / self._tokens
        if abs(self._trained - own) <= max(FAR, FAR_SHARE * own):
            return None
        return say(
            "The first loss is {loss}, but before training the model has a loss of {own} on the same rows: a "
                "library computes one of them wrongly. Compare the versions: loris --version.",
            loss=round(self._trained, 2), own=round(own, 2),
        )  # fmt: skip
