"""Logits of the model in memory, and the loss of rows computed from them: apart from the trainer's own code."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from engine.model.hardware import free_bytes, unmeasured
from engine.model.inference_mode import inference_mode

MASKED = -100
CHUNK = 256  # tokens whose logits are in 32 bits at once
BYTES_PER_LOGIT = 8  # in 16 bits, and again in 32 where a library converts all of them


def logits_of(model: Any, ids: list[list[int]]) -> list[torch.Tensor]:
    """The logits after every token of each list, in 32 bits on the CPU. Shapes: (tokens, vocabulary)."""
    with _returns_logits(), inference_mode(model), torch.no_grad():
        return [
            model(input_ids=torch.tensor([one], device=model.device), use_cache=False).logits[0].float().cpu()
            for one in ids
        ]


def summed_loss(model: Any, batch: dict[str, Any]) -> tuple[float, int] | None:
    """(the sum of the losses of a trainer's batch, its number of learned tokens) as the model answers, row by row.

    None if the batch is no text with labels, or if memory could run out.
    """
    if not {"input_ids", "labels"} <= batch.keys():
        return None
    rows = list(_rows(batch))
    needed = max((len(ids) for ids, _ in rows), default=0) * vocabulary_size(model) * BYTES_PER_LOGIT
    if needed > free_bytes():
        return None
    total, count = 0.0, 0
    with unmeasured(), _returns_logits(), inference_mode(model), torch.no_grad():
        for ids, labels in rows:
            logits = model(input_ids=ids[None], use_cache=True).logits[0, :-1]
            for start in range(0, len(logits), CHUNK):
                part = slice(start, start + CHUNK)
                total += float(cross_entropy(logits[part].float(), labels[1:][part], reduction="sum"))
            count += int((labels[1:] != MASKED).sum())
    return total, count


def _rows(batch: dict[str, Any]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The rows of a batch without their padding: token ids and labels. Rows that were joined are taken apart."""
    mask, positions = batch.get("attention_mask"), batch.get("position_ids")
    for number, (ids, labels) in enumerate(zip(batch["input_ids"], batch["labels"], strict=True)):
        if positions is not None and len(batch["input_ids"]) == 1:
            starts = (positions[number] == 0).nonzero().flatten().tolist()
            for start, end in zip(starts, [*starts[1:], len(ids)], strict=True):
                yield ids[start:end], labels[start:end]
        elif mask is not None and mask.dim() == 2:
            kept = mask[number].bool()
            yield ids[kept], labels[kept]
        else:
            yield ids, labels


def vocabulary_size(model: Any) -> int:
    """How many tokens the model can write; guessing has the logarithm of it as loss."""
    return int(model.config.get_text_config().vocab_size)


def guessing_loss(model: Any) -> float:
    """The loss of a model that gives every token the same probability."""
    return math.log(vocabulary_size(model))


@contextmanager
def _returns_logits() -> Iterator[None]:
    """Unsloth leaves out the logits to save memory, unless this variable is set."""
    before = os.environ.get("UNSLOTH_RETURN_LOGITS")
    os.environ["UNSLOTH_RETURN_LOGITS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["UNSLOTH_RETURN_LOGITS"]
        else:
            os.environ["UNSLOTH_RETURN_LOGITS"] = before
