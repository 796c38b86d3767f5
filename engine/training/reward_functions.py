"""Rewards as TRL's trainer calls them, and the answers that they scored last."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from engine.protocol import events as ev
from engine.rewards import AnswerSample, Reward

SHOWN_CHARACTERS = 500  # of a prompt and of an answer in an event


class RewardFunctions:
    """One function for each reward. Set `ends`, the tokens that end an answer; without one, it was cut."""

    ends: frozenset[int] = frozenset()

    def __init__(self, rewards: Sequence[Reward], tokenizer: Any) -> None:
        self.rewards, self._tokenizer = rewards, tokenizer
        self.functions = [self._function(reward) for reward in rewards]
        self.weights = [reward.weight for reward in rewards]
        self._samples: list[AnswerSample] = []
        self._cut: list[bool] = []
        self._scores: dict[str, list[float | None]] = {}

    def _function(self, reward: Reward) -> Callable[..., list[float | None]]:
        def score(
            prompts: list[str], completions: list[str], completion_ids: list[list[int]],
            answer: list[str], row: list[str], **_: Any,
        ) -> list[float | None]:  # fmt: skip
            rows = map(json.loads, row)
            self._samples = [AnswerSample(*one) for one in zip(prompts, completions, answer, rows, strict=True)]
            self._cut = [ids[-1] not in self.ends for ids in completion_ids]
            self._scores[reward.name] = reward.score(self._samples)
            return self._scores[reward.name]

        score.__name__ = reward.name  # the trainer names its metrics by it
        return score

    def newest(self, most: int) -> tuple[ev.ScoredAnswer, ...]:
        """Answers to the last prompt, from the best to the worst: `most` of them, evenly spaced."""
        if not self._samples:
            return ()
        last = [n for n, sample in enumerate(self._samples) if sample.prompt == self._samples[-1].prompt]
        ranked = sorted((self._scored(n) for n in last), key=lambda one: -one.reward)
        if len(ranked) <= most:
            return tuple(ranked)
        return tuple(ranked[n * (len(ranked) - 1) // (most - 1)] for n in range(most))

    def _scored(self, number: int) -> ev.ScoredAnswer:
        sample = self._samples[number]
        scores = {name: found[number] for name, found in self._scores.items()}
        known = ((reward.weight, scores[reward.name]) for reward in self.rewards)
        return ev.ScoredAnswer(
            prompt=self._without_special_tokens(sample.prompt)[:SHOWN_CHARACTERS],
            answer=sample.completion[:SHOWN_CHARACTERS],
            scores=scores,
            reward=sum(weight * score for weight, score in known if score is not None),
            cut=self._cut[number],
        )

    def _without_special_tokens(self, text: str) -> str:
        return str(self._tokenizer.decode(self._tokenizer(text)["input_ids"], skip_special_tokens=True))
