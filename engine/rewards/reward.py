"""An answer to score, and what scores it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class AnswerSample(NamedTuple):
    """An answer to score. `prompt`: as the model got it. `completion`: decoded without special tokens.

    `answer`: the reference, empty if there is none. `row`: the row of the dataset.
    """

    prompt: str
    completion: str
    answer: str
    row: dict[str, Any]


@dataclass(frozen=True)
class Reward:
    """Scores answers. `name`: unique in a run. `score`: one score for each sample, None where it does not apply;
    raises `UserError`."""

    name: str
    weight: float
    score: Callable[[Sequence[AnswerSample]], list[float | None]]
