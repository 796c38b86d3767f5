"""The trial of rewards: the model as it is answers a few prompts, and every check scores the answers.

GRPO learns from the differences within a group, the answers to one prompt. Where there are none, it learns nothing,
and says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from transformers import StoppingCriteriaList

from engine.config.run_spec import RunSpec
from engine.inference.generate import StopWhenCancelled, isolated_rng, max_answer_tokens
from engine.messages.message import Message, say
from engine.model.inference_mode import inference_mode
from engine.model.loading import Loaded, stop_ids
from engine.prompting.prompt_format import encode
from engine.protocol import events as ev
from engine.rewards.build import rewards_for
from engine.rewards.reward import AnswerSample, Reward
from engine.runtime.event_writer import EventWriter

PROMPTS = 8
MOST_ANSWERS = 4  # to each prompt
SHOWN_CHARACTERS = 500  # the end of a prompt, the start of an answer
SAME = 1e-9
NOTHING_LEARNED = "rewards_equal"  # the notice's code

Group = Sequence[ev.ScoredAnswer]  # the answers to one prompt
Answers = list[tuple[str, bool]]  # the texts, and whether each was cut


def try_rewards(
    loaded: Loaded,
    spec: RunSpec,
    examples: Sequence[Mapping[str, str]],
    record: EventWriter,
    cancelled: Callable[[], bool],
) -> Message | None:
    """Report the scores of answers to the first prompts. Returns, and reports, why nothing can be learned, if so.

    `examples`: rows with the columns prompt, answer and row, as the trainer gets them. Raises `UserError`, as when
    the user's file fails. Reports nothing if cancelled.
    """
    rewards = rewards_for(spec, record.folder)
    samples: list[AnswerSample] = []
    cut: list[bool] = []
    counts: list[int] = []
    room = spec.model.max_seq_length - spec.grpo.max_completion_length
    with isolated_rng(spec.training.seed):
        for example in different_prompts(examples):
            ids = encode(loaded.tokenizer, example["prompt"])
            if len(ids) > room:
                continue  # the trainer leaves it out too
            answers = write_answers(loaded, ids, spec, cancelled)
            if cancelled():
                return None
            row = json.loads(example["row"])
            samples += [AnswerSample(example["prompt"], text, example["answer"], row) for text, _ in answers]
            cut += [was_cut for _, was_cut in answers]
            counts.append(len(answers))
    scored = score(rewards, samples, cut)
    record.emit(ev.Completions(step=0, answers=tuple(scored)))
    remaining = iter(scored)
    groups = [[next(remaining) for _ in range(count)] for count in counts]
    reason = why_nothing_is_learned(groups, spec)
    if reason:
        record.emit(ev.Notice(code=NOTHING_LEARNED, message=reason, level="warning"))
    return reason


def different_prompts(examples: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The first examples with different prompts."""
    found: dict[str, Mapping[str, str]] = {}
    for example in examples:
        found.setdefault(example["prompt"], example)
        if len(found) == PROMPTS:
            break
    return list(found.values())


def write_answers(loaded: Loaded, ids: list[int], spec: RunSpec, cancelled: Callable[[], bool]) -> Answers:
    """Answers to a prompt of these tokens, sampled as the trainer does."""
    model, tokenizer, grpo = loaded.model, loaded.tokenizer, spec.grpo
    stops = stop_ids(loaded)
    given = torch.tensor([ids] * min(grpo.num_generations, MOST_ANSWERS), device=model.device)
    with inference_mode(model), torch.no_grad():
        written = model.generate(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=min(grpo.max_completion_length, max_answer_tokens(model, len(ids))),
            do_sample=True, temperature=grpo.temperature, top_p=1.0, top_k=0, min_p=None,
            eos_token_id=stops,
            pad_token_id=tokenizer.pad_token_id,
            use_cache=True,
            stopping_criteria=StoppingCriteriaList([StopWhenCancelled(cancelled, model.device)]),
        )  # fmt: skip
    return [_text(tokenizer, one, set(stops)) for one in written[:, len(ids) :].tolist()]


def _text(tokenizer: Any, ids: list[int], stops: set[int]) -> tuple[str, bool]:
    """The text of an answer up to its end, and whether it was cut."""
    end = next((at for at, token in enumerate(ids) if token in stops), None)
    return tokenizer.decode(ids[:end], skip_special_tokens=True), end is None


def score(rewards: Sequence[Reward], samples: Sequence[AnswerSample], cut: Sequence[bool]) -> list[ev.ScoredAnswer]:
    """The answers with their scores. Raises `UserError`."""
    scores = {reward.name: reward.score(samples) for reward in rewards}
    weights = {reward.name: reward.weight for reward in rewards}
    found = []
    for number, sample in enumerate(samples):
        own = {name: values[number] for name, values in scores.items()}
        found.append(ev.ScoredAnswer(
            prompt=sample.prompt[-SHOWN_CHARACTERS:],
            answer=sample.completion[:SHOWN_CHARACTERS],
            scores=own,
            reward=sum(weights[name] * value for name, value in own.items() if value is not None),
            cut=cut[number],
        ))  # fmt: skip
    return found


def why_nothing_is_learned(groups: Sequence[Group], spec: RunSpec) -> Message | None:
    """Why GRPO would learn nothing from answers like these; None if it can learn."""
    answers = list(chain.from_iterable(groups))
    if not answers:
        return None  # no prompt leaves room for an answer, which the training reports
    all_cut = all(answer.cut for answer in answers)
    limit = spec.grpo.max_completion_length
    if all_cut and spec.grpo.mask_truncated_completions:
        return say(
            "Nothing can be learned: every answer was cut at {limit} tokens, and cut answers are ignored. Raise "
            "grpo.max_completion_length.",
            limit=limit,
        )
    if any(has_spread(group) for group in groups):
        return None
    scores = [value for answer in answers for value in answer.scores.values() if value is not None]
    if not scores:
        return say(
            "Nothing can be learned: no check applies to any answer. Those that compare need a reference answer in "
            "the data."
        )
    if all_cut:
        return say(
            "Nothing can be learned: every answer was cut at {limit} tokens before its end, and all to a prompt "
            "score the same. Raise grpo.max_completion_length.",
            limit=limit,
        )
    if all(len({answer.answer for answer in group}) == 1 for group in groups):
        return say(
            "Nothing can be learned: the model gives the same answer to a prompt each time. Raise grpo.temperature."
        )
    if all(value >= 1 - SAME for value in scores):
        return say(
            "Nothing can be learned: it is too easy, every answer has the full score of every check. Use harder "
            "prompts, or stricter checks."
        )
    if all(abs(value) <= SAME for value in scores):
        return say(
            "Nothing can be learned: it is too hard, no answer scores in any check. Teach the model by SFT first, "
            "or add a check that rewards a part of the way."
        )
    return say(
        "Nothing can be learned: all answers to a prompt score the same by {names}. Add a check that tells them "
        "apart.",
        names=", ".join(answers[0].scores),
    )


def has_spread(group: Group) -> bool:
    """Whether the rewards of a group differ."""
    rewards = [answer.reward for answer in group]
    return max(rewards) - min(rewards) > SAME if rewards else False
