"""An answer that does not end by itself: recognised, and not seen where there is none."""

from __future__ import annotations

from engine.inference.repetition import LONG, cause, repeats


def words(ids: list[int], text: str = "", marker: str = "", adapter: bool = True) -> str:
    return str(cause(ids, text, marker=marker, special={0, 1}, adapter=adapter) or "")


def test_circles_are_seen_whatever_their_length() -> None:
    for period in (1, 2, 7, 16, 24):
        assert repeats([2 + n % period for n in range(128)]), period


def test_plain_text_and_short_answers_are_not_circles() -> None:
    assert not repeats(list(range(2, 200)))
    assert not repeats([7] * 20)
    # A list: the same words begin every line, and the rest differs.
    assert not repeats([token for n in range(20) for token in (5, 6, 100 + 3 * n, 101 + 3 * n, 102 + 3 * n)])


def test_the_likely_cause_is_named() -> None:
    assert "turn of its own" in words([5, 6, 0, 7])
    assert "turn of its own" in words([5, 6], "Yes.\n\n### Instruction:\nNext", "### Instruction:")
    assert "trained too long" in words([5] * 60)
    assert "instruct model" in words([5] * 60, adapter=False)
    assert f"No end after {LONG} tokens" in words(list(range(2, LONG + 2)))
    assert words(list(range(2, 130)), "a long answer", "### Instruction:") == ""
