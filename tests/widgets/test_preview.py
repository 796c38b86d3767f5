"""The preview of rows, as found and as they will be learned."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config.run_spec import DatasetSpec
from engine.dataset.detection import detect
from tui.widgets.preview import learned_parts

SHOWN: list[tuple[str, dict[str, Any], str]] = [
    ("dpo", {"prompt": "Hi", "chosen": "Yo", "rejected": "No"}, "user: Hi\n✓ chosen: Yo\n✗ rejected: No"),
    (
        "orpo",
        {"prompt": "Hi", "answers": ["No", "Yo"], "scores": [1, 2]},
        "user: Hi\n✓ chosen: Yo\n✗ rejected: No",
    ),
    ("kto", {"prompt": "Hi", "completion": "Yo", "label": True}, "user: Hi\n✓ a good answer: Yo"),
    ("kto", {"prompt": "Hi", "completion": "Yo", "label": 0}, "user: Hi\n✗ a bad answer: Yo"),
    ("grpo", {"prompt": "2 + 1?", "answer": 3}, "user: 2 + 1?\nthe right answer: 3"),
    ("grpo", {"prompt": [{"role": "user", "content": "Hi"}]}, "user: Hi\nThe model writes the answer."),
]


@pytest.mark.parametrize(("method", "row", "text"), SHOWN)
def test_what_is_compared_is_shown(method: str, row: dict[str, Any], text: str) -> None:
    data = DatasetSpec()
    shown = "".join(part for part, _ in learned_parts(row, data, detect([row], data, method)))
    assert shown == "\nAs it is learned:\n" + text
