"""Streamed pieces of an answer are complete characters."""

from __future__ import annotations

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest

from engine.inference import generate
from engine.model import loading

pytest_plugins = ["tests.helpers.proof_fixtures"]


def test_pieces_are_complete_characters(loaded: loading.Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "BATCH_SECONDS", 0.0)  # a piece for each complete character
    text = "I am 懒猴 🦥, née Loris — 🇨🇳 ok."
    ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    got: list[str] = []
    pieces = generate.AnswerStreamer(loaded.tokenizer, got.append)
    import torch

    pieces.put(torch.tensor([[1, 2, 3]]))
    for token in ids:
        pieces.put(torch.tensor([token]))
    pieces.end()
    assert "".join(got) == pieces.text == text
    assert not any(generate.INCOMPLETE in piece for piece in got)
    cut = generate.AnswerStreamer(loaded.tokenizer, got.append)
    cut.put(torch.tensor([[1]]))
    cut.put(torch.tensor(loaded.tokenizer("🦥", add_special_tokens=False)["input_ids"][:-1]))
    cut.end()
    assert generate.INCOMPLETE not in cut.text
