"""Mapping rows to examples."""

from __future__ import annotations

import pytest

from engine.config.run_spec import DatasetSpec
from engine.dataset.detection import detect
from engine.dataset.mapping import BadRow, fill
from tests.helpers.dataset_cases import BOT, USER


@pytest.mark.parametrize(
    ("filler", "text"),
    [
        ("a", "1"), ("", ""), ("none", ""), ("{a}-{b}", "1-x{a}"), ("{a}\\n{b}", "1\nx{a}"), ("= {a} {c}", "1 {c}"),
        ("=fixed", "fixed"), ("=", ""), ("{c}", ""),
    ],
)  # fmt: skip
def test_fill(filler: str, text: str) -> None:
    assert fill(filler, {"a": 1, "b": "x{a}"}) == text


def test_an_error_names_the_row() -> None:
    found = detect([{"messages": [USER, BOT]}], DatasetSpec())
    with pytest.raises(BadRow) as caught:
        found.mapping.example({"messages": 5})
    assert str(caught.value.describe(7)).startswith("Row 7: ")
