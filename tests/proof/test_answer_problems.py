"""Problems of votes and prompts, from counts."""

from __future__ import annotations

from typing import Any

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest

from engine.config.check import build_spec
from engine.config.run_spec import RunSpec
from engine.dataset.detection import detect
from engine.proof.answer_problems import answer_problems
from engine.proof.measure import RowCounts


def spec_of(method: str, **sections: Any) -> RunSpec:
    spec, errors = build_spec({"training": {"method": method}, **sections})
    assert spec
    assert not errors
    return spec


def votes(good: int, bad: int) -> RowCounts:
    found = RowCounts()
    row = {"prompt": "Hi", "completion": "Yo"}
    mapping = detect([row | {"label": 1}], spec_of("kto").dataset, "kto").mapping
    for number, label in enumerate([1] * good + [0] * bad, 1):
        vote = row | {"label": label}
        found.answers.add(number, vote, mapping, mapping.example(vote))
    return found


@pytest.mark.parametrize(("good", "bad"), [(3, 0), (0, 3)])
def test_votes_of_one_kind_stop(good: int, bad: int) -> None:
    (stop,) = answer_problems(votes(good, bad), spec_of("kto"))
    assert (stop.code, stop.level, stop.field) == ("one_vote", "stop", "dataset.label_column")


@pytest.mark.parametrize(
    ("good", "bad", "fix"),
    [(9, 3, {}), (2, 6, {}), (2, 9, {"kto.desirable_weight": 4.5}), (10, 1, {"kto.undesirable_weight": 10.0})],
)
def test_far_more_votes_of_one_kind_are_a_warning_whose_fix_balances_them(
    good: int, bad: int, fix: dict[str, float]
) -> None:
    found = votes(good, bad)
    problems = list(answer_problems(found, spec_of("kto")))
    assert [one.level for one in problems] == ["warning"] * bool(fix)
    if fix:
        assert [one.changes for one in problems[0].fixes] == [fix]
        weights = {path.partition(".")[2]: value for path, value in fix.items()}
        assert not list(answer_problems(found, spec_of("kto", kto=weights)))


@pytest.mark.parametrize(("share", "level"), [(0.4, "stop"), (0.5, "warning")])
def test_prompts_without_room_for_an_answer(share: float, level: str) -> None:
    found = RowCounts(lengths=RowCounts().lengths)
    found.lengths.update({100: 1, 400: 1})
    found.no_room.add(2, "long")
    spec = spec_of(
        "grpo", model={"max_seq_length": 512}, dataset={"max_cut_share": share}, grpo={"rewards": ("answer",)}
    )
    (problem,) = answer_problems(found, spec)
    assert (problem.code, problem.level, problem.row) == ("no_room", level, 2)
    assert problem.field == "grpo.max_completion_length"
    assert problem.fixes[0].changes == {"model.max_seq_length": 704}  # 400 and 256, in steps of 64
    assert len(problem.fixes) == (2 if level == "stop" else 1)
