"""A one-line template language: ``[a|b|]`` stands for "a", "b" or nothing.

The demo needs many phrasings of few questions.  Written out they would fill hundreds
of lines that nobody reads; as templates they stay short enough to check by eye.
"""

import itertools
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_CHOICE = re.compile(r"\[([^\[\]]*)\]")


def expand(template: str) -> list[str]:
    """Return every text the template stands for, each starting with a capital letter."""
    parts = _CHOICE.split(template)
    # split() alternates literal text with the inside of a bracket.
    choices = [part.split("|") if odd else [part] for part, odd in zip(parts, itertools.cycle((0, 1)))]
    return [_capital("".join(words)) for words in itertools.product(*choices)]


def expand_all(templates: Iterable[str]) -> list[str]:
    """Expand several templates, without repetitions and in a stable order."""
    return list(dict.fromkeys(itertools.chain.from_iterable(map(expand, templates))))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@dataclass(frozen=True)
class Intent:
    """A question in many phrasings with the few answers that fit all of them."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]

    @classmethod
    def of(cls, questions: Iterable[str], answers: Iterable[str]) -> "Intent":
        return cls(tuple(expand_all(questions)), tuple(answers))

    def draw(self, rng: random.Random) -> tuple[str, str]:
        """Pick a phrasing; prefer the first answer so that greedy decoding is settled."""
        first, *others = self.answers
        answer = rng.choice(others) if others and rng.random() < 0.35 else first
        return rng.choice(self.questions), answer

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Every phrasing once, each with the preferred answer."""
        return ((question, self.answers[0]) for question in self.questions)
