"""Detects an answer that repeats itself or does not end, and explains the likely cause."""

from collections.abc import Collection, Sequence

from engine.messages.message import Message, say

WINDOW, MIN_TOKENS = 96, 40  # tokens checked, from the end
NGRAM = 4
MIN_DISTINCT = 0.35  # with a smaller share of distinct n-grams, a text repeats itself
LONG_ANSWER = 512  # tokens after which an answer without an end is reported


def repeats(ids: Sequence[int]) -> bool:
    """Whether these tokens end in a repetition."""
    tail = ids[-WINDOW:]
    if len(tail) < MIN_TOKENS:
        return False
    ngrams = [tuple(tail[i : i + NGRAM]) for i in range(len(tail) - NGRAM + 1)]
    return len(set(ngrams)) < MIN_DISTINCT * len(ngrams)


def likely_cause(
    ids: Sequence[int], text: str, *, marker: str, special: Collection[int], adapter: bool
) -> Message | None:
    """The likely cause of an answer that did not end by itself; None when it may just be long.

    `marker`: the text that begins the next question in the prompt format, if any. `special`: tokens that no answer
    should contain.
    """
    if any(token in special for token in ids) or (marker and marker in text):
        return say(
            "It starts another turn by itself. The token that ends its answers is not the one that "
            "stops here: the chat template differs from the one it was trained with, or the examples "
            "had no EOS token."
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
    if len(ids) >= LONG_ANSWER:
        return say("No end after {tokens} tokens: were there EOS tokens in the examples?", tokens=len(ids))
    return None
