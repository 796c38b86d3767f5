"""The catalogue of models."""

from __future__ import annotations

from tui.state.model_catalogue import catalogue


def test_the_catalogue_is_valid() -> None:
    models = catalogue()
    assert len(models) > 20
    assert len({model.bnb_4bit for model in models}) == len(models)
    assert all(model.bnb_4bit.endswith("-bnb-4bit") and model.memory_4bit < model.memory_16bit for model in models)
