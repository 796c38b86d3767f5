"""Pairs, votes and prompts: detection by training method, and what of a row becomes prompt and answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.run_spec import DatasetSpec
from engine.dataset.detection import detect
from engine.dataset.mapping import BadRow, Example
from engine.dataset.peek import check_dataset
from tests.helpers.answer_cases import CASES, AnswerCase
from tests.helpers.dataset_cases import BOT, QA, USER


def asked(example: Example) -> str:
    """The turns before the last answer."""
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in example.as_chat()[:-1])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method}, {case.name}")
def test_what_a_method_reads(case: AnswerCase) -> None:
    found = detect([case.row], DatasetSpec(**case.settings), case.method)
    assert found.problem is None
    assert found.kind == case.kind
    assert 0 < found.confidence <= 1
    assert str(found.why)
    assert found.mapping.columns <= set(case.row)
    example = found.mapping.example(case.row)
    assert (asked(example), example.answer) == (case.prompt, case.answer)
    assert example.good is case.good
    assert (example.rejected.answer if example.rejected else None) == case.rejected
    if example.rejected:
        assert asked(example.rejected) == case.prompt


def good(**changes: Any) -> dict[str, Any]:
    return {"prompt": "Hi", "chosen": "Yo", "rejected": "No", **changes}


def vote(**changes: Any) -> dict[str, Any]:
    return {"prompt": "Hi", "completion": "Yo", "label": True, **changes}


SWAPPED = {"chosen_column": "rejected", "rejected_column": "chosen"}
TURNS = {"chosen": [USER, BOT], "rejected": [USER, BOT]}
UNFIT: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any], str, str]] = {
    "columns named the other way round": ("dpo", [good()], SWAPPED, "chosen_column", "seem to be swapped"),
    "scores prefer the rejected": (
        "orpo", [good(score_chosen=1, score_rejected=2), good(score_chosen=3, score_rejected=4),
                 good(score_chosen=2, score_rejected=1)], {}, "chosen_column", "in 2 of 3 rows",
    ),
    "equal answers": (
        "dpo", [good(rejected="Yo "), good(chosen="No")], {}, "rejected_column", "equal in every row"),
    "equal chats": ("reward", [TURNS], {}, "rejected_column", "equal in every row"),
    "an empty rejected answer": ("reward", [good(rejected="")], {}, "rejected_column", "empty in every row"),
    "chats without an answer": (
        "dpo", [{"chosen": [USER], "rejected": [USER]}], {}, "chosen_column", "empty in every row"),
    "no such column": (
        "dpo", [good()], {"rejected_column": "rejectet"}, "rejected_column", "Did you mean rejected"),
    "no prompt": ("dpo", [{"chosen": "Yo", "rejected": "No"}], {}, "instruction_column", "begin differently"),
    "equal scores": (
        "dpo", [{"prompt": "Hi", "answers": ["a", "b"], "scores": [1, 1]}], {}, "chosen_column",
        "No row has a better"),
    "a tie": (
        "dpo", [{"prompt": "Hi", "answer_a": "a", "answer_b": "b", "winner": "tie"},
                {"prompt": "Hi", "answer_a": "a", "answer_b": "b", "winner": "tie"}], {"format": "preference"},
        "chosen_column", "Name the column",
    ),
    "a score that is none": (
        "dpo", [{"prompt": "Hi", "answers": ["a", "b"], "scores": [1, "?"]}], {}, "chosen_column",
        "each with a score"),
    "chats by a prompt template": (
        "dpo", [TURNS | {"rejected": [USER, USER, BOT]}], {"written_with": "prompt_template"}, "written_with",
        "choose the chat template",
    ),
    "questions and answers for DPO": (
        "dpo", [QA], {}, "format", "question/answer data. Use sft, grpo, or add rejected"),
    "chats for a reward model": ("reward", [{"messages": [USER, BOT]}], {}, "format", "or add rejected answers"),
    "texts for ORPO": ("orpo", [{"text": "Once."}], {}, "format", "This is plain text. Use sft, cpt"),
    "votes for DPO": ("dpo", [vote(), vote(label=False)], {}, "format", "votes on single answers. Use kto"),
    "pairs for SFT": ("sft", [good()], {}, "format", "(dpo, orpo, kto, reward), or set format: alpaca"),
    "pairs for GRPO": ("grpo", [good()], {}, "format", "or set format: prompts"),
    "questions and answers for KTO": ("kto", [QA], {}, "format", "add a column of votes"),
    "good votes only": ("kto", [vote(), vote(label="up")], {}, "label_column", "Every vote is good"),
    "bad votes only": ("kto", [vote(label=0)], {}, "label_column", "Every vote is bad"),
    "a vote that is none": (
        "kto", [vote(), vote(label="maybe")], {"label_column": "label"}, "label_column", "maybe"),
    "no votes": ("kto", [QA], {"format": "votes"}, "label_column", "Name the column with the votes"),
    "an empty voted answer": ("kto", [vote(completion="")], {}, "output_column", "empty in every row"),
    "texts for GRPO": ("grpo", [{"text": "Once."}], {}, "format", "plain text"),
    "empty prompts": (
        "grpo", [{"prompt": "", "answer": "3"}], {"format": "prompts"}, "instruction_column", "empty"),
    "prompts without a question": (
        "grpo", [{"prompt": [{"role": "system", "content": "S"}]}], {}, "instruction_column", "empty in every row"),
    "no such answer": ("grpo", [QA], {"output_column": "anser"}, "output_column", "Did you mean answer"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_data_that_a_method_cannot_learn_from_is_an_error_before_anything_loads(name: str, tmp_path: Path) -> None:
    method, rows, settings, field, words = UNFIT[name]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (error,) = check_dataset(DatasetSpec(path=str(tmp_path / "d.jsonl"), **settings), method)
    assert error.field == f"dataset.{field}"
    assert words in str(error.message)


def test_ties_and_level_scores() -> None:
    pairs = [{"prompt": "Hi", "answers": ["a", "b"], "scores": scores} for scores in ([1, 2], [2, 2])]
    found = detect(pairs, DatasetSpec(), "dpo")
    assert found.mapping.example(pairs[0]).answer == "b"
    with pytest.raises(BadRow) as caught:
        found.mapping.example(pairs[1])
    assert (caught.value.tied, caught.value.empty) == (True, True)
    named = good(score_chosen=2, score_rejected=2)  # the columns say which is better
    assert detect([named], DatasetSpec(), "dpo").mapping.example(named).answer == "Yo"


def test_the_prompts_of_pairs_can_be_used_alone() -> None:
    found = detect([good()], DatasetSpec(format="prompts"), "grpo")
    assert found.problem is None
    assert (found.mapping.example(good()).pair["instruction"], found.mapping.example(good()).answer) == ("Hi", "")


def test_sft_ignores_the_names_of_other_methods() -> None:
    rows = [{"question": "Hi", "response_j": "Yo", "answer": "So", "label": 1}]
    found = detect(rows, DatasetSpec())
    assert (found.kind, found.mapping.output) == ("alpaca", "answer")
    assert detect([good()], DatasetSpec()).alternatives[0].settings["output_column"] == "chosen"
