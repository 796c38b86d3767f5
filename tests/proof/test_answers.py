"""The proof of pairs: both sides as the trainer gets them, and what nothing would be learned from."""

from __future__ import annotations

from typing import Any

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

from tests.helpers.engine_process import with_changes
from tests.helpers.proof_datasets import Rows, fixed, proof

pytest_plugins = ["tests.helpers.proof_fixtures"]

ANSWERS = ("Yes.", "No, not at all, never.", "It depends.", "Of course it is.", "Ask me again.", "Hardly so, no.")
PAIRS: Rows = [
    {"prompt": f"Is it {n}?", "chosen": chosen, "rejected": ANSWERS[(n + 1) % len(ANSWERS)]}
    for n, chosen in enumerate(ANSWERS)
]


def chat(prompt: str, answer: str) -> Rows:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


WHOLE = [{side: chat(row["prompt"], row[side]) for side in ("chosen", "rejected")} for row in PAIRS]


def method(spec: Any, **settings: Any) -> Any:
    return with_changes(spec, training={"method": "dpo"}, **settings)


def test_both_sides_are_shown_as_the_trainer_gets_them(spec_for: Any, trainer_for: Any) -> None:
    spec = method(spec_for(PAIRS))
    report = proof(spec)
    assert [problem.code for problem in report.problems] == []
    assert (report.format, report.answers.pairs, report.answers.equal) == ("preference", 6, 0)
    rows = trainer_for(spec).train_dataset
    for shown, row in zip(report.examples, rows, strict=True):
        assert shown.rejected
        for side, name in ((shown, "chosen"), (shown.rejected, "rejected")):
            assert [token.id for token in side.tokens] == row["prompt_ids"] + row[f"{name}_ids"]
            assert [token.id for token in side.tokens if token.learned] == row[f"{name}_ids"]
            assert side.length == len(side.tokens)
    learned = [sum(len(ids) for ids in rows[f"{name}_ids"]) / 6 for name in ("chosen", "rejected")]
    assert [report.answers.chosen_tokens, report.answers.rejected_tokens] == learned
    assert report.learned_tokens == sum(learned) * 6
    assert sum(rows for _, rows in report.lengths) == 6  # a pair is one row
    chats = proof(method(spec_for(WHOLE)))
    assert [row.text for row in chats.examples] == [row.text for row in report.examples]
    assert (chats.turns.learned, chats.turns.masked) == (12, 12)


def test_what_nothing_can_be_learned_from_is_a_stop_with_a_fix(spec_for: Any) -> None:
    equal = [row | {"rejected": row["chosen"]} for row in PAIRS]
    assert [stop.code for stop in proof(method(spec_for(equal))).stops] == ["pairs_equal"]
    for scores in ({"score_chosen": 1, "score_rejected": 2}, {}):
        named = {} if scores else {"chosen_column": "rejected", "rejected_column": "chosen"}
        spec = method(spec_for([row | scores for row in PAIRS], **named))
        (stop,) = proof(spec).stops
        assert (stop.code, stop.field) == ("sides_swapped", "dataset.chosen_column")
        (fix,) = stop.fixes
        assert not proof(fixed(spec, fix.changes)).stops
    ties = [{"prompt": "Is it?", "answers": ["Yes.", "No."], "scores": [1, 1]}] * 2
    (stop,) = proof(method(spec_for(ties))).stops
    assert "none of their answers is better: 2" in str(stop.message)


def test_what_teaches_the_wrong_thing_is_a_warning(spec_for: Any) -> None:
    longer = [row | {"rejected": row["chosen"][:-2]} for row in PAIRS]
    spec = method(spec_for(longer))
    (warning,) = proof(spec).problems
    assert (warning.code, warning.level, warning.count) == ("chosen_longer", "warning", 6)
    (fix,) = warning.fixes
    again = fixed(spec, fix.changes)
    assert again.dpo.loss_type == "sigmoid_norm"
    some = [*PAIRS, PAIRS[0] | {"rejected": "Yes."}, PAIRS[1] | {"score_chosen": 1, "score_rejected": 1}]
    tied = {"prompt": "Is it?", "chosen": "", "rejected": "No."}
    found = {problem.code: problem.count for problem in proof(method(spec_for([*some, tied]))).problems}
    assert found == {"pairs_equal": 1, "scores_equal": 1, "rows_empty": 1, "rows_duplicate": 1}


def test_prompts_that_fill_the_context_before_an_answer(spec_for: Any) -> None:
    long = {"prompt": "word " * 200, "chosen": "Yes.", "rejected": "No."}
    spec = method(spec_for([*PAIRS, long], length=128, max_cut_share=1.0))
    found = {problem.code: problem for problem in proof(spec).problems}
    assert "fill the context" in str(found["rows_unlearned"].message)
    assert found["rows_unlearned"].fixes
    fix = found["rows_unlearned"].fixes[-1]
    assert not proof(fixed(spec, fix.changes)).problems
