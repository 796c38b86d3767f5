"""Recognises an answer that does not end by itself, and says in words what is likely to blame."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from engine.messages.message import Message, say

WINDOW, FEWEST = 96, 40  # tokens looked at, from the end
GRAM = 4
VARIED = 0.35  # the share of different groups of GRAM tokens below which a text goes round in circles
LONG = 512  # tokens after which an answer without an end is worth a word


def repeats(ids: Sequence[int]) -> bool:
    """Whether the end of these tokens goes round in circles."""
    tail = ids[-WINDOW:]
    if len(tail) < FEWEST:
        return False
    grams = [tuple(tail[i : i + GRAM]) for i in range(len(tail) - GRAM + 1)]
    return len(set(grams)) < VARIED * len(grams)


def cause(ids: Sequence[int], text: str, *, marker: str, special: Collection[int], adapter: bool) -> Message | None:
    """Why an answer that did not end by itself likely did not; None when it may just be long.

    `marker`: what begins the next question in the prompt text, if it is text. `special`: the tokens that no
    answer should contain.
    """
    if any(token in special for token in ids) or (marker and marker in text):
        return say(
            "It goes on with a turn of its own. Its end of an answer is not the one that stops here: the chat "
            "template differs from the one it was trained with, or the examples had no EOS token."
        )
    if repeats(ids):
        if adapter:
            return say(
                "It repeats itself. Set repetition_penalty to 1.1 or lower the temperature. If it always does, "
                "it was trained too long or too fast, or on examples without an EOS token."
            )
        return say(
            "It repeats itself. Set repetition_penalty to 1.1; a model that was never taught to chat does not "
            "know when to stop, an instruct model does."
        )
    if len(ids) >= LONG:
        return say("No end after {tokens} tokens: were there EOS tokens in the examples?", tokens=len(ids))
    return None
