"""Makes the rewards that a spec lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from engine.config import rewards as settings
from engine.config.local_paths import local_path
from engine.config.rewards import AnyCheck, checks_of
from engine.config.run_spec import RunSpec
from engine.config.schema_file import schema_of
from engine.messages.errors import UserError
from engine.rewards import checks
from engine.rewards.reward import AnswerSample, Reward
from engine.rewards.user_file import UserFile

Scores = Callable[[Sequence[AnswerSample]], list[float | None]]


def rewards_for(spec: RunSpec, folder: Path) -> list[Reward]:
    """The rewards of a run, in the order of the spec. `folder`: the run's, which keeps a copy of the user's file.

    Raises `UserError`, also where the user has not allowed the file.
    """
    listed = checks_of(spec.grpo.rewards, spec.grpo.rewards_file)
    own = UserFile(spec.grpo, folder) if spec.grpo.rewards_file else None
    named = {check.function for check in listed if isinstance(check, settings.Python)}
    found: list[Reward] = []
    for check in listed:
        if isinstance(check, settings.Python):
            assert own is not None  # by the rules of the spec
            names = [check.function] if check.function else [name for name in own.functions if name not in named]
            made: list[tuple[str, Scores]] = [(name, own.scores(name)) for name in names]
        else:
            made = [(check.name, _scores(check, spec))]
        for name, score in made:
            found.append(Reward(_unused(name, found), check.weight, score))
    return found


def _unused(name: str, others: Sequence[Reward]) -> str:
    taken = {other.name for other in others}
    numbered: Iterator[str] = (f"{name}_{number}" for number in range(2, len(taken) + 2))
    return name if name not in taken else next(one for one in numbered if one not in taken)


def _scores(check: AnyCheck, spec: RunSpec) -> Scores:
    if isinstance(check, settings.RewardModel):
        return _reward_model(check, spec)
    one = _score(check, spec)
    return lambda samples: [one(sample) for sample in samples]


def _score(check: AnyCheck, spec: RunSpec) -> checks.Score:
    match check:
        case settings.RightAnswer():
            return checks.answer(check)
        case settings.Regex():
            return checks.regex(check)
        case settings.Json():
            return checks.json_text(check, schema_of(check))
        case settings.Length():
            return checks.length(check, _token_counter(spec.model.model_name, spec.model.revision))
        case settings.Language():
            return checks.language(check)
        case settings.Forbidden():
            return checks.forbidden(check)
        case settings.Format():
            return checks.tags(check)
        case settings.Similarity():
            return checks.similarity(check)
    raise TypeError(f"no such check: {check}")


def _token_counter(model_name: str, revision: str) -> Callable[[str], int]:
    """Counts the tokens of a text. The tokenizer is loaded once it is needed."""

    @cache
    def tokenizer() -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(model_name, revision=revision or None)

    return lambda text: len(tokenizer()(text, add_special_tokens=False)["input_ids"])


def _reward_model(check: settings.RewardModel, spec: RunSpec) -> Scores:
    """The scores of a reward model, as the probability that the answer is a good one."""
    from engine.model.reward_model import load_scorer
    from engine.rewards.question import question_of

    try:
        scorer = load_scorer(local_path(check.path))
    except UserError as error:
        raise UserError(error.code, error.message, error.hint, "grpo.rewards") from error

    def score(samples: Sequence[AnswerSample]) -> list[float | None]:
        pairs = [(question_of(sample, spec), sample.completion) for sample in samples]
        return [_sigmoid(value) for value in scorer(pairs)]

    return score


def _sigmoid(value: float) -> float:
    return 0.5 * (1 + math.tanh(value / 2))
