"""The first loss is compared with guessing, and with the model's own loss on the same rows."""

from __future__ import annotations

import math

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest
import torch

from engine.model import loading
from engine.model.logits import MASKED, guessing_loss, summed_loss
from engine.training.first_loss import FirstLoss

pytest_plugins = ["tests.helpers.proof_fixtures"]
TEXTS = ("Who are you? I am a model.", "你是谁？", "Nobody knows what will be learned from this line of text.")


def batch(loaded: loading.Loaded) -> dict[str, torch.Tensor]:
    """Rows of different lengths; the first tokens of each are masked."""
    found = dict(loaded.tokenizer(list(TEXTS), return_tensors="pt", padding=True))
    labels = found["input_ids"].masked_fill(found["attention_mask"] == 0, MASKED)
    labels[:, :3] = MASKED
    return {**found, "labels": labels}


def joined(rows: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same rows in one, as Unsloth joins them on a GPU."""
    kept = rows["attention_mask"].bool()
    positions = torch.cat([torch.arange(int(one.sum())) for one in kept])
    return {
        "input_ids": rows["input_ids"][kept][None], "labels": rows["labels"][kept][None],
        "position_ids": positions[None],
    }  # fmt: skip


def own_loss(loaded: loading.Loaded) -> float:
    rows = batch(loaded)
    loaded.model.eval()
    with torch.no_grad():
        return float(loaded.model(**rows).loss)


def test_the_models_own_loss_is_that_of_its_library(loaded: loading.Loaded) -> None:
    rows = batch(loaded)
    expected = own_loss(loaded)
    for one in (rows, joined(rows)):
        found = summed_loss(loaded.model, one)
        assert found
        assert found[0] / found[1] == pytest.approx(expected, abs=1e-4)
    assert summed_loss(loaded.model, {"prompt_input_ids": rows["input_ids"]}) is None


@pytest.mark.parametrize(
    ("more", "words"),
    [(0.0, ""), (0.1, ""), (1.0, "on the same rows"), (-2.0, "on the same rows"), (9.0, "worse than guessing")],
)
def test_a_first_loss_far_from_guessing_or_from_the_models_own_is_a_warning(
    more: float, words: str, loaded: loading.Loaded
) -> None:
    first, parts = FirstLoss(loaded.model), 4
    own = own_loss(loaded)
    for _ in range(parts):  # the batches of one step
        first.before(batch(loaded))
        first.after((own + more) / parts)
    assert words in str(first.warning() or "")
    assert bool(first.warning()) == bool(words)


def test_guessing_is_the_logarithm_of_the_vocabulary(loaded: loading.Loaded) -> None:
    assert guessing_loss(loaded.model) == pytest.approx(math.log(2176))
