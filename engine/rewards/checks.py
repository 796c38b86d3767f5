"""The ready checks: each makes a function that scores one answer from 0 to 1, or None where it does not apply."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from engine.config import rewards as settings
from engine.config.json_schema import is_valid
from engine.config.scripts import SCRIPTS
from engine.rewards.final_answer import as_number, final_part, numbers_in, same_number, same_text
from engine.rewards.reward import AnswerSample

Score = Callable[[AnswerSample], float | None]
MOST_COMPARED = 4000  # characters: difflib takes the square of it
_HAN = r"㐀-䶿一-鿿豈-﫿぀-ヿ"  # written without spaces: each character counts as a word
_WORD = re.compile(rf"[{_HAN}]|[^\W{_HAN}]+")
_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)


def answer(check: settings.RightAnswer) -> Score:
    """1 if the final answer is the reference; None without a reference."""

    def score(sample: AnswerSample) -> float | None:
        reference = final_part(sample.answer).strip()
        if not reference:
            return None
        given = final_part(sample.completion)
        number = None if check.mode == "exact" else as_number(reference)
        if number is None:
            return None if check.mode == "number" else float(same_text(given, reference))
        found = numbers_in(given)
        return float(bool(found) and same_number(found[-1], number, check.tolerance))

    return score


def regex(check: settings.Regex) -> Score:
    pattern = re.compile(check.pattern)
    match = pattern.fullmatch if check.full else pattern.search
    return lambda sample: float(match(sample.completion.strip() if check.full else sample.completion) is not None)


def json_text(check: settings.Json, schema: dict[str, Any] | None) -> Score:
    """1 if the answer is JSON that fits the schema. `schema`: inline or from the file."""

    def score(sample: AnswerSample) -> float:
        fenced = _FENCED.findall(sample.completion)
        try:
            value = json.loads(fenced[0] if fenced else sample.completion, parse_constant=_refuse)
            return float(schema is None or is_valid(value, schema))
        except (ValueError, RecursionError):
            return 0.0

    return score


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def words(text: str) -> list[str]:
    """The words of a text in lower case; a Chinese or Japanese character is one."""
    return _WORD.findall(text.lower())


def length(check: settings.Length, count_tokens: Callable[[str], int]) -> Score:
    """1 within the band, falling to 0 over `soft` units on either side."""
    units: dict[str, Callable[[str], int]] = {
        "tokens": count_tokens, "words": lambda text: len(words(text)), "characters": len,
    }  # fmt: skip
    count = units[check.unit]

    def score(sample: AnswerSample) -> float:
        size = count(sample.completion)
        outside = max(check.min - size, size - check.max if check.max else 0, 0)
        return max(0.0, 1 - outside / check.soft) if check.soft else float(not outside)

    return score


def language(check: settings.Language) -> Score:
    """The share of letters in the script of the language; 0 without a letter. Digits and signs do not count."""
    script = SCRIPTS[check.language]

    def score(sample: AnswerSample) -> float:
        letters = [sign for sign in sample.completion if sign.isalpha()]
        return sum(script.match(sign) is not None for sign in letters) / len(letters) if letters else 0.0

    return score


def forbidden(check: settings.Forbidden) -> Score:
    """1 if no word is in the answer: as a whole word where it is written with spaces, else anywhere."""
    pattern = re.compile("|".join(map(_as_word, check.words)), re.IGNORECASE)
    return lambda sample: float(pattern.search(sample.completion) is None)


def _as_word(word: str) -> str:
    """A pattern for a word; next to a Chinese character it may begin and end anywhere."""
    letter = rf"[^\W{_HAN}]"
    before = rf"(?<!{letter})" if re.match(letter, word) else ""
    after = rf"(?!{letter})" if re.match(letter, word[-1]) else ""
    return before + re.escape(word) + after


def tags(check: settings.Format) -> Score:
    """1 if each tag is there exactly once, in order, with nothing else. A prompt may open the first one."""
    pattern = re.compile(r"\s*".join(["", *(f"<{tag}>.*?</{tag}>" for tag in check.tags), ""]), re.DOTALL)
    marks = [mark for tag in check.tags for mark in (f"<{tag}>", f"</{tag}>")]

    def score(sample: AnswerSample) -> float:
        opened = marks[0] if sample.prompt.rstrip().endswith(marks[0]) else ""
        text = opened + sample.completion
        return float(all(text.count(mark) == 1 for mark in marks) and pattern.fullmatch(text) is not None)

    return score


def similarity(check: settings.Similarity) -> Score:
    """How close the answer is to the reference; None without a reference."""
    compare = _shared_words if check.by == "words" else _ratio
    return lambda sample: compare(sample.completion, sample.answer) if sample.answer.strip() else None


def _shared_words(one: str, other: str) -> float:
    """F1 of the words that two texts share, with repeats."""
    found, wanted = Counter(words(one)), Counter(words(other))
    total = found.total() + wanted.total()
    return 2 * (found & wanted).total() / total if total else 0.0


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one[:MOST_COMPARED], other[:MOST_COMPARED], autojunk=False).ratio()
