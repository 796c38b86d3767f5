"""Which rows of each source are taken to train on: after the weights of a mix and the number to sample."""

from __future__ import annotations

import random
from collections.abc import Sequence

from engine.config.run_spec import DatasetSpec


def draws(data: DatasetSpec, weights: Sequence[float]) -> bool:
    """Whether anything but each row once is taken."""
    return bool(data.sample_rows) or any(weight != 1 for weight in weights)


def rows_taken(data: DatasetSpec, counts: Sequence[int], weights: Sequence[float]) -> int:
    """How many rows are taken of sources with `counts` rows."""
    total = sum(
        count * int(weight) + round(count * (weight % 1)) for count, weight in zip(counts, weights, strict=True)
    )
    return min(total, data.sample_rows) if data.sample_rows else total


def drawn(data: DatasetSpec, counts: Sequence[int], weights: Sequence[float]) -> list[Sequence[int]]:
    """For each source the places, from 0, of the rows to take. `counts`: its rows; `weights`: of `Source`."""
    taken: list[Sequence[int]] = []
    for count, weight in zip(counts, weights, strict=True):
        places: Sequence[int] = range(count)
        if weight > 1:
            places = list(places) * int(weight)
        if rest := round(count * (weight % 1)):
            some = sorted(random.Random(data.sample_seed).sample(range(count), rest))
            places = [*(places if weight >= 1 else ()), *some]
        taken.append(places)
    total = sum(map(len, taken))
    if data.sample_rows and data.sample_rows < total:
        chosen = sorted(random.Random(data.sample_seed).sample(range(total), data.sample_rows))
        start, cut = 0, []
        for places in taken:
            cut.append([places[at - start] for at in chosen if start <= at < start + len(places)])
            start += len(places)
        return list(cut)
    return taken
