"""Descriptions of steps, epochs and rows."""

from __future__ import annotations

import pytest

from tui.text.training import Amounts, describe_training, sliced


@pytest.mark.parametrize(
    ("amounts", "words"),
    [
        (Amounts(2, 4, 60, 1.0, 0), "ends after 60 steps; epochs do not count."),
        (Amounts(2, 4, 60, 1.0, 240), "each of the 240 rows about 2.0 times"),
        (Amounts(2, 4, -1, 3.0, 250), "3 epochs over 250 rows are 96 steps."),
        (Amounts(2, 4, -1, 0.5, 0), "known once the data is loaded"),
    ],
)
def test_descriptions_of_amounts(amounts: Amounts, words: str) -> None:
    assert words in describe_training(amounts)


@pytest.mark.parametrize(
    ("split", "rows"),
    [("train", 200), ("train[:50]", 50), ("train[50:]", 150), ("train[:10%]", 20), ("train[:999]", 200)],
)
def test_slices_of_a_split(split: str, rows: int) -> None:
    assert sliced(200, split) == rows
