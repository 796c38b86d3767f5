"""Guesses what a mistyped word was meant to be."""

import difflib
from collections.abc import Sequence


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The known word closest to a mistyped one, or an empty string."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.6)), "")
