"""Repetition and missing ends of answers are detected, and not in normal text."""

from __future__ import annotations

from engine.inference.repetition import LONG_ANSWER, likely_cause, repeats


def cause_of(ids: list[int], text: str = "", marker: str = "", adapter: bool = True) -> str:
    return str(likely_cause(ids, text, marker=marker, special={0, 1}, adapter=adapter) or "")


def test_repetitions_of_any_length_are_detected() -> None:
    for period in (1, 2, 7, 16, 24):
        assert repeats([2 + n % period for n in range(128)]), period


def test_plain_text_and_short_answers_are_no_repetition() -> None:
    assert not repeats(list(range(2, 200)))
    assert not repeats([7] * 20)
    # A list: every line begins with the same words, and the rest differs.
    assert not repeats([token for n in range(20) for token in (5, 6, 100 + 3 * n, 101 + 3 * n, 102 + 3 * n)])


def test_the_likely_cause_is_named() -> None:
    assert "another turn by itself" in cause_of([5, 6, 0, 7])
    assert "another turn by itself" in cause_of([5, 6], "Yes.\n\n### Instruction:\nNext", "### Instruction:")
    assert "trained too long" in cause_of([5] * 60)
    assert "instruct model" in cause_of([5] * 60, adapter=False)
    assert f"No end after {LONG_ANSWER} tokens" in cause_of(list(range(2, LONG_ANSWER + 2)))
    assert cause_of(list(range(2, 130)), "a long answer", "### Instruction:") == ""
