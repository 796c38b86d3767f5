"""Holding rows out before they are multiplied."""

from __future__ import annotations

from collections import Counter

import pytest
from datasets import Dataset

from engine.messages.errors import UserError
from engine.training.hold_out import hold_out


@pytest.mark.parametrize("weight", [1, 3])
def test_rows_are_held_out_before_they_are_multiplied(weight: int) -> None:
    found = hold_out([str(n) for n in range(20)], list(range(20)) * weight, 0.2, seed=7)
    assert len(found.held_out) == 4
    assert Counter(found.train) == Counter({n: weight for n in range(20) if n not in found.held_out})
    assert found.kept_apart == 0  # no row of the data is lost


def test_no_duplicate_stands_on_both_sides() -> None:
    keys = [n % 10 for n in range(40)]  # each text four times
    found = hold_out(keys, range(40), 0.2, seed=7)
    held = {keys[n] for n in found.held_out}
    assert len(held) == len(found.held_out) == 2
    assert not held & {keys[n] for n in found.train}
    assert found.kept_apart == 6
    assert len(found.train) + len(found.held_out) + found.kept_apart == 40  # every row is accounted for


def test_rows_without_duplicates_are_split_as_by_datasets() -> None:
    parts = Dataset.from_dict({"n": list(range(50))}).train_test_split(test_size=0.1, seed=3407)
    found = hold_out(list(range(50)), range(50), 0.1, seed=3407)
    assert (found.train, found.held_out) == (list(parts["train"]["n"]), list(parts["test"]["n"]))


def test_too_few_different_rows_are_an_error() -> None:
    with pytest.raises(UserError) as caught:
        hold_out(["a"] * 9, range(9), 0.2, seed=7)
    assert caught.value.field == "dataset.test_size"
