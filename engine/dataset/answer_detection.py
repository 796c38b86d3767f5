"""Finds the columns of pairs, votes and prompts by their names and values; None where they are not there."""

from collections.abc import Sequence
from typing import Any

from engine.config.role_names import role_names
from engine.config.run_spec import DatasetSpec
from engine.dataset.answers import BAD, GOOD, PairMapping, PromptMapping, VoteMapping, is_dialogue, plain
from engine.dataset.column_names import (
    ANSWER_LISTS,
    ANSWER_STEMS,
    ANSWERS,
    CHAT_NAMES,
    CONTEXTS,
    PAIR_SCORES,
    PAIRS,
    PROMPTS,
    REFERENCES,
    SCORE_KEYS,
    SCORE_LISTS,
    SCORE_STEMS,
    SUFFIXES,
    SYSTEM_NAMES,
    VOTES,
    WINNERS,
)
from engine.dataset.columns import Columns
from engine.dataset.detected import GUESS, Alternative, Detected
from engine.dataset.mapping import Mapping
from engine.dataset.turn_shapes import TOOL_NAMES
from engine.dataset.turns import parse_json
from engine.messages.message import say

# How a column names the better one of two answers, besides by their names.
CHOICES = (("0", "1"), ("1", "2"), ("a", "b"), ("model_a", "model_b"), ("first", "second"), ("left", "right"))


def find_pairs(columns: Columns, data: DatasetSpec) -> PairMapping | None:
    """A better and a worse answer in columns of their own, or answers that a choice or scores compare."""
    if any(columns.together(names) for names in PAIRS):
        return named_pair(columns, data)
    return _two_answers(columns, data) or _list_of_answers(columns, data)


def named_pair(columns: Columns, data: DatasetSpec) -> PairMapping:
    """A better and a worse answer: the columns that the user named, else those with usual names."""
    filled, there = (filter(None, map(find, PAIRS)) for find in (columns.together, columns.present))
    chosen, rejected = next(filled, None) or next(there, PAIRS[0])
    chosen = chosen if data.chosen_column == "auto" else data.chosen_column
    rejected = rejected if data.rejected_column == "auto" else data.rejected_column
    scores = next(filter(None, map(columns.together, PAIR_SCORES)), ())
    if "reject" in chosen.lower() and scores:
        scores = (scores[1], scores[0])  # the user named the columns the other way round
    return PairMapping(output=chosen, rejected=rejected, scores=scores, **_roles(columns, data, chosen, rejected))


def _two_answers(columns: Columns, data: DatasetSpec) -> PairMapping | None:
    for stem in ANSWER_STEMS:
        for suffixes in SUFFIXES:
            if not (found := columns.together([stem + suffix for suffix in suffixes])):
                continue
            roles = _roles(columns, data, *found)
            if scores := _scores_of(columns, found, suffixes):
                return PairMapping(answers=found, scores=scores, **roles)
            for winner in columns.named(WINNERS):
                if winners := _winners(columns.values(winner), found, suffixes):
                    return PairMapping(answers=found, winner=winner, winners=winners, **roles)
    return None


def _scores_of(columns: Columns, answers: Sequence[str], suffixes: Sequence[str]) -> tuple[str, ...]:
    for stem in SCORE_STEMS:
        for names in (
            [stem + suffix for suffix in suffixes],
            [f"{answer.lower()}_{stem}" for answer in answers],
            [f"{stem}_{answer.lower()}" for answer in answers],
        ):
            if found := columns.together(names):
                return found
    return ()


def _winners(values: Sequence[Any], answers: Sequence[str], suffixes: Sequence[str]) -> tuple[str, str] | None:
    """The two values that stand for the answers, None if most of `values` are others."""
    written = [plain(value) for value in values]
    ways = [tuple(name.lower() for name in answers), tuple(suffix.strip("_") for suffix in suffixes), *CHOICES]
    best = max(ways, key=lambda way: sum(value in way for value in written))
    found = sum(value in best for value in written)
    return (best[0], best[1]) if 2 * found > len(written) else None


def _list_of_answers(columns: Columns, data: DatasetSpec) -> PairMapping | None:
    for name in columns.named(ANSWER_LISTS):
        lists = [found for value in columns.values(name) if isinstance(found := parse_json(value), list)]
        if not lists or max(map(len, lists)) < 2:
            continue
        roles = _roles(columns, data, name)
        for scores in columns.named(SCORE_LISTS):
            if scores != name and any(isinstance(parse_json(value), list) for value in columns.values(scores)):
                return PairMapping(answers=(name,), scores=(scores,), **roles)
        if all(isinstance(one, dict) and any(key in one for key in SCORE_KEYS) for one in lists[0]):
            return PairMapping(answers=(name,), **roles)
    return None


def find_votes(columns: Columns, data: DatasetSpec) -> VoteMapping | None:
    """An answer, and a column that has nothing but votes."""
    label = columns.find(VOTES)
    values = columns.values(label) if label else []
    if not values or any(plain(value) not in GOOD | BAD for value in values):
        return None
    found = votes(columns, data)
    return found if found.output in columns else None


def votes(columns: Columns, data: DatasetSpec) -> VoteMapping:
    """Votes: the columns that the user named, else those with usual names."""
    label = columns.find(VOTES) if data.label_column == "auto" else data.label_column
    answer = data.output_column if data.messages_column == "auto" else data.messages_column
    if answer == "output":
        answer = columns.find([name for name in ANSWERS if name not in VOTES]) or _chat(columns)
    roles = _roles(columns, data, answer)
    if _opens_with_question(columns, answer):
        roles["instruction"] = ""
    return VoteMapping(output=answer, label=label, **{**roles, "kind": "votes"})


def find_prompts(columns: Columns, data: DatasetSpec) -> PromptMapping | None:
    """A prompt as text or turns, with its right answer or without."""
    found = prompts(columns, data)
    return found if found.instruction in columns else None


def prompts(columns: Columns, data: DatasetSpec) -> PromptMapping:
    """Prompts: the columns that the user named, else those with usual names, else any turns, else the only text."""
    roles = _roles(columns, data)
    named = data.messages_column if data.messages_column != "auto" else ""
    prompt = named or roles["instruction"] or _chat(columns)
    texts = [name for name in columns.names if columns.is_text(name)]
    prompt = prompt or (texts[0] if len(texts) == 1 and data.format == "prompts" else "")
    answer = data.output_column if data.output_column != "output" else columns.find(REFERENCES, exclude=prompt)
    return PromptMapping(**{**roles, "kind": "prompts", "instruction": prompt}, output=answer)


def _roles(columns: Columns, data: DatasetSpec, *answers: str) -> dict[str, Any]:
    """What fills the other roles of a mapping."""
    prompt = _prompt(columns, data, answers)
    context = data.input_column
    if context == "input":
        names = [name for name in CONTEXTS if name not in (prompt.lower(), *map(str.lower, answers))]
        context = columns.find(names) if prompt and not columns.has_turns(prompt) else ""
    return {
        "kind": "preference",
        "instruction": prompt,
        "input": context,
        "system": columns.find(SYSTEM_NAMES) if data.system_column == "auto" else data.system_column,
        "tools": columns.find(TOOL_NAMES),
        "roles": tuple(role_names(data.role_names).items()),
    }


def _prompt(columns: Columns, data: DatasetSpec, answers: Sequence[str]) -> str:
    if data.instruction_column != "instruction":
        return data.instruction_column
    found = columns.find([name for name in PROMPTS if name not in map(str.lower, answers)])
    if found or not answers or any(_opens_with_question(columns, name) for name in answers):
        return found
    return next((name for name in columns.named(CHAT_NAMES) if name not in answers and columns.has_turns(name)), "")


def _chat(columns: Columns) -> str:
    """The first column of turns, one with a usual name if there is one."""
    names = [*columns.named(CHAT_NAMES), *columns.names]
    return next((name for name in names if columns.has_turns(name)), "")


def _opens_with_question(columns: Columns, name: str) -> bool:
    """Whether the answers in a column are whole dialogues as text."""
    values = columns.values(name)
    return bool(values) and all(map(is_dialogue, values[:20]))


def is_chat(mapping: Mapping, columns: Columns) -> bool:
    """Whether a column of the prompt or the answers has turns."""
    return any(
        columns.has_turns(name) or any(map(is_dialogue, columns.values(name)[:1]))
        for name in mapping.fillers
        if name in columns
    )


def detected_pairs(mapping: PairMapping, columns: Columns) -> Detected:
    names = ", ".join(mapping.answers)
    alternatives: tuple[Alternative, ...] = ()
    if mapping.winner:
        why = say('"{column}" says which of {names} is the better answer.', column=mapping.winner, names=names)
    elif mapping.answers:
        why = say("Scores say which of the answers is better: {names}.", names=names)
    else:
        why = say('"{chosen}" has the better answers, "{rejected}" the worse ones.',
                  chosen=mapping.output, rejected=mapping.rejected)  # fmt: skip
        alternatives = (Alternative(say("Learn only the chosen answers"), _as_answers(mapping, columns)),)
    if not mapping.instruction and not is_chat(mapping, columns):
        why = say("A guess: what both answers begin with is the prompt.")
        return Detected(mapping=mapping, variant="preference", confidence=GUESS, why=why, alternatives=alternatives)
    confidence = 0.9 if mapping.answers else 1.0
    return Detected(
        mapping=mapping, variant="preference", confidence=confidence, why=why, alternatives=alternatives
    )


def _as_answers(mapping: Mapping, columns: Columns) -> dict[str, str]:
    """The settings that read prompts and answers as questions and answers."""
    prompt, answer = mapping.instruction, mapping.output
    if not columns.has_turns(answer):
        return {"format": "alpaca", "instruction_column": prompt, "output_column": answer}
    names = [name for name in (prompt, answer) if name and columns.has_turns(name)]
    return {"format": "messages", "messages_column": "+".join(names)}


def detected_votes(mapping: VoteMapping, columns: Columns) -> Detected:
    return Detected(
        mapping=mapping,
        variant="votes",
        confidence=1.0 if mapping.label and mapping.output else 0.0,
        why=say('"{column}" says whether an answer was good.', column=mapping.label),
        alternatives=(Alternative(say("Learn all answers, whatever the vote"), _as_answers(mapping, columns)),),
    )


def detected_prompts(mapping: PromptMapping) -> Detected:
    """Prompts, to which the model itself writes the answers."""
    if mapping.output:
        why = say('"{prompt}" has the prompts, "{answer}" the right answers.',
                  prompt=mapping.instruction, answer=mapping.output)  # fmt: skip
    else:
        why = say('"{prompt}" has the prompts.', prompt=mapping.instruction)
    return Detected(mapping=mapping, variant="prompts", confidence=0.9, why=why)
