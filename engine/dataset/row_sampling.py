"""Selects the rows to train on: by the weights of a mix and the number of rows to sample."""

import random
from collections.abc import Sequence

from engine.config.run_spec import DatasetSpec


def is_sampled(data: DatasetSpec, weights: Sequence[float]) -> bool:
    """Whether the selection differs from using each row once."""
    return bool(data.sample_rows) or any(weight != 1 for weight in weights)


def count_sampled(data: DatasetSpec, counts: Sequence[int], weights: Sequence[float]) -> int:
    """The number of selected rows of sources with `counts` rows."""
    total = sum(
        count * int(weight) + round(count * (weight % 1)) for count, weight in zip(counts, weights, strict=True)
    )
    return min(total, data.sample_rows) if data.sample_rows else total


def sample_rows(data: DatasetSpec, counts: Sequence[int], weights: Sequence[float]) -> list[Sequence[int]]:
    """The indices of the selected rows, for each source. `counts`, `weights`: one per source."""
    selected: list[Sequence[int]] = []
    for count, weight in zip(counts, weights, strict=True):
        indices: Sequence[int] = range(count)
        if weight > 1:
            indices = list(indices) * int(weight)
        if rest := round(count * (weight % 1)):
            extra = sorted(random.Random(data.sample_seed).sample(range(count), rest))
            indices = [*(indices if weight >= 1 else ()), *extra]
        selected.append(indices)
    total = sum(map(len, selected))
    if data.sample_rows and data.sample_rows < total:
        chosen = sorted(random.Random(data.sample_seed).sample(range(total), data.sample_rows))
        start, kept = 0, []
        for indices in selected:
            kept.append([indices[index - start] for index in chosen if start <= index < start + len(indices)])
            start += len(indices)
        return list(kept)
    return selected
