"""The proof stops where the engine does, each fix resolves its problem, and samples are marked as such."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest
from transformers import AutoTokenizer

from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError
from engine.model import loading
from engine.runs.folder import RunFolder
from engine.runtime.event_writer import EventWriter
from tests.helpers.engine_process import with_changes
from tests.helpers.proof_datasets import (
    ALPACA,
    CHATS,
    PAIRS,
    SYSTEM,
    TEXTS,
    fixed,
    proof,
    proven_rows,
    trained_rows,
)

pytest_plugins = ["tests.helpers.proof_fixtures"]

LONG = [{"instruction": "Write.", "input": "", "output": "word " * 300}, *ALPACA]
STOPS = {
    "nothing learned": ("nothing_learned", ALPACA, 512, {"instruction_part": "###Q", "response_part": "###A"}),
    "every answer cut off": ("nothing_learned", [{"instruction": "w " * 400, "output": "Yes."}], 64, {}),
    "too many cut": ("rows_cut", LONG, 256, {}),
    "no chat template": ("template_unknown", CHATS, 512, {"chat_template": "llama-9"}),
    "a bad row": ("rows_bad", [*CHATS, {"messages": "Hello"}], 512, {}),
    "a broken line": (
        "rows_bad", "".join(json.dumps(row) + "\n" for row in PAIRS) + '{"question": "Half', 512, {},
    ),
    "mixed schemas": ("rows_bad", [*PAIRS, ALPACA[0]], 512, {}),
    "an unfit template": ("eos_missing", CHATS, 512, {"chat_template": "gemma3"}),
    "preference data": (
        "format_unknown", [{"prompt": "Hi?", "chosen": "Hello.", "rejected": "No."}], 512, {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STOPS)
def test_each_stop_has_a_fix_that_resolves_it(name: str, spec_for: Any, trainer_for: Any) -> None:
    code, rows, length, settings = STOPS[name]
    spec = spec_for(rows, length=length, **settings)
    report = proof(spec)
    assert [problem.code for problem in report.stops] == [code]
    stop = report.stops[0]
    with pytest.raises(UserError):  # the engine rejects it too
        trainer_for(spec)
    assert stop.fixes
    for fix in stop.fixes:
        fixed_spec = fixed(spec, fix.changes)
        again = proof(fixed_spec)
        assert stop.code not in [problem.code for problem in again.stops], fix
        if not again.stops:
            trainer_for(fixed_spec)


def test_a_model_whose_template_does_not_end_answers(
    spec_for: Any, trainer_for: Any, demo: RunSpec, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(demo.model.model_name)
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    tokenizer.save_pretrained(tmp_path / "endless")
    shutil.copy(Path(demo.model.model_name) / "config.json", tmp_path / "endless")
    spec = with_changes(spec_for(CHATS), model={"model_name": str(tmp_path / "endless")})
    (stop,) = proof(spec).stops
    assert stop.code == "eos_missing"
    with pytest.raises(UserError) as refused:
        trainer_for(spec)
    assert refused.value.code == "eos_missing"
    assert stop.fixes
    for fix in stop.fixes:
        fixed_spec = fixed(spec, fix.changes)
        report = proof(fixed_spec)
        assert not report.stops
        for row in report.examples:
            assert report.eos_token in [token.text for token in row.tokens if token.learned][-3:]
        assert proven_rows(report) == trained_rows(trainer_for(fixed_spec))


def test_a_model_that_stops_at_another_token_than_its_tokenizer(
    spec_for: Any, trainer_for: Any, demo: RunSpec, tmp_path: Path
) -> None:
    """Like Gemma: the tokenizer's EOS is </s>, and the generation config also stops at the end of a turn."""
    tokenizer = AutoTokenizer.from_pretrained(demo.model.model_name)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end_of_turn>"]})
    tokenizer.chat_template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<end_of_turn>{% endfor %}"
    folder = tmp_path / "turns"
    tokenizer.save_pretrained(folder)
    shutil.copy(Path(demo.model.model_name) / "config.json", folder)
    spec = with_changes(spec_for(CHATS), model={"model_name": str(folder)})
    assert [stop.code for stop in proof(spec).stops] == ["eos_missing"]
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    report = proof(spec)
    assert not report.stops
    assert proven_rows(report) == trained_rows(trainer_for(spec))


def test_chats_cannot_be_mixed_with_a_prompt_text(spec_for: Any, trainer_for: Any, tmp_path: Path) -> None:
    other = tmp_path / "chats.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in CHATS))
    spec = spec_for(ALPACA, mix=(str(other),), written_with="prompt_template")
    (stop,) = proof(spec).stops
    assert stop.code == "mixed_formats"
    with pytest.raises(UserError):
        trainer_for(spec)
    (fix,) = stop.fixes
    fixed_spec = fixed(spec, fix.changes)
    report = proof(fixed_spec)
    assert not report.stops
    assert sorted(proven_rows(report)) == sorted(trained_rows(trainer_for(fixed_spec)))


def test_chats_cannot_be_mixed_with_plain_text(spec_for: Any, trainer_for: Any, tmp_path: Path) -> None:
    other = tmp_path / "texts.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in TEXTS))
    spec = spec_for(ALPACA, mix=(str(other),))
    (stop,) = proof(spec).stops
    assert stop.code == "mixed_formats"
    (fix,) = stop.fixes
    fixed_spec = fixed(spec, fix.changes)
    report = proof(fixed_spec)
    assert not report.stops
    assert proven_rows(report) == trained_rows(trainer_for(fixed_spec))


def test_a_bad_row_is_reported_with_its_value(spec_for: Any) -> None:
    report = proof(spec_for([*CHATS, {"messages": "Hello"}]))
    (stop,) = report.stops
    assert (stop.row, stop.count) == (3, 1)
    assert "Hello" in stop.value
    assert "3" in str(stop.message)


def test_a_sample_is_reported_as_one(spec_for: Any) -> None:
    rows = [{"question": f"{n}?", "answer": f"It is {n}."} for n in range(2000)]
    report = proof(spec_for(rows), max_rows=500)
    assert report.sampled
    assert report.rows == 500
    assert not report.exact
    assert abs(report.rows_total - 2000) < 200


def test_a_large_jsonl_file_is_sampled_from_start_to_end(spec_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.proof.sample.SAMPLED_BYTES", 1000)
    rows = [{"question": f"{n}?", "answer": "short" if n < 3000 else "a longer answer"} for n in range(6000)]
    spec = spec_for(rows)
    report = proof(spec, max_rows=1500)
    assert report.sampled
    assert 1000 < report.rows <= 1500
    assert (report.rows_total, report.exact) == (6000, True)
    assert report.duplicate_rows == 0
    assert max(row.number for row in report.examples) <= 20
    longest = max(tokens for tokens, _ in report.lengths)
    assert sum(rows for tokens, rows in report.lengths if tokens >= longest - 5) > 100  # from the end, too


def test_rows_without_any_answer_are_a_stop(spec_for: Any, trainer_for: Any) -> None:
    rows = [{"question": "One?", "answer": "1"}] * 150 + [{"question": "Two?", "answer": " "}] * 20
    spec = spec_for(rows, split="train[150:]")
    (stop,) = proof(spec).stops
    assert stop.code in ("dataset_empty", "column_missing", "format_unknown")
    with pytest.raises(UserError):
        trainer_for(spec)


def test_the_rows_left_out_are_listed_in_a_file(
    spec_for: Any, trainer_for: Any, record: EventWriter, loaded: loading.Loaded
) -> None:
    """With the fix that drops rows, the report counts them and the engine lists the same ones."""
    spec = spec_for(
        [
            *CHATS,
            {"messages": "Hello"},
            {"messages": [{"role": "king", "content": "No."}, *CHATS[0]["messages"]]},
            *CHATS,
        ]
    )
    (stop,) = proof(spec).stops
    (fix,) = stop.fixes
    fixed_spec = fixed(spec, fix.changes)
    report = proof(fixed_spec)
    assert not report.stops
    assert report.bad_rows == stop.count == 2
    assert proven_rows(report) == trained_rows(trainer_for(fixed_spec))
    lines = RunFolder(record.folder).dropped.read_text().splitlines()
    assert [json.loads(line)["row"] for line in lines] == [3, 4]


CALL = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
WEATHER = [
    {"role": "user", "content": "How warm is it in Oslo?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "21 degrees"},
    {"role": "assistant", "content": "It is warm."},
]  # fmt: skip
THOUGHT = [
    {"role": "user", "content": "One?"}, {"role": "assistant", "content": "<think>Counting.</think>1"},
    {"role": "user", "content": "Two?"}, {"role": "assistant", "content": "<think>Adding.</think>2"},
]  # fmt: skip
WITHOUT_EARLIER_THOUGHTS = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' and not loop.last %}"
    "{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)
WITHOUT_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def codes(report: Any) -> list[str]:
    return [problem.code for problem in report.problems]


def test_tool_turns_on_a_template_without_tools_are_stops_with_fixes(spec_for: Any, trainer_for: Any) -> None:
    """Everything in a row is in the text, or a stop says what is not, with fixes that work."""
    spec = spec_for([*CHATS, *CHATS, {"messages": WEATHER}])
    report = proof(spec)
    assert {stop.code for stop in report.stops} == {
        "row_lacks_tool_call", "row_lacks_tool_result", "row_lacks_empty_answer",
    }  # fmt: skip
    assert {(stop.row, stop.count, stop.field) for stop in report.stops} == {(5, 1, "dataset.missing_parts")}
    with pytest.raises(UserError) as refused:
        trainer_for(spec)
    assert refused.value.code == "row_incomplete"
    assert refused.value.field == "dataset.missing_parts"
    changes = {str(fix.changes) for stop in report.stops for fix in stop.fixes}
    assert len(changes) == 3
    for fix in report.stops[0].fixes:
        fixed_spec = fixed(spec, fix.changes)
        again = proof(fixed_spec)
        assert not again.stops
        assert proven_rows(again) == trained_rows(trainer_for(fixed_spec))
        assert bool(again.lacking) == (fix.changes == {"dataset.missing_parts": "accept"})


def test_a_thought_that_the_template_strips_from_an_earlier_turn(
    spec_for: Any, trainer_for: Any, tmp_path: Path
) -> None:
    (tmp_path / "think.jinja").write_text(WITHOUT_EARLIER_THOUGHTS)
    spec = spec_for([{"messages": THOUGHT}], chat_template=str(tmp_path / "think.jinja"))
    (warning,) = proof(spec).problems
    assert (warning.code, warning.level, warning.row, warning.value) == (
        "row_lacks_thought",
        "warning",
        1,
        "Counting.",
    )
    (fix,) = warning.fixes
    assert fix.changes == {"dataset.last_answer_only": True}
    fixed_spec = fixed(spec, fix.changes)
    report = proof(fixed_spec)
    assert codes(report) == []
    assert proven_rows(report) == trained_rows(trainer_for(fixed_spec))
    learned = "".join(token.text for token in report.examples[0].tokens if token.learned)
    assert "Adding." in learned
    assert "1" not in learned


def test_a_thought_that_the_template_strips_from_every_turn(spec_for: Any, tmp_path: Path) -> None:
    """Like the templates of DeepSeek R1: only another template writes it."""
    (tmp_path / "strip.jinja").write_text(WITHOUT_EARLIER_THOUGHTS.replace(" and not loop.last", ""))
    spec = spec_for([{"messages": THOUGHT}], chat_template=str(tmp_path / "strip.jinja"))
    (warning,) = proof(spec).problems
    (fix,) = warning.fixes
    assert fix.changes == {"dataset.chat_template": "chatml"}
    assert codes(proof(fixed(spec, fix.changes))) == []


def test_a_system_text_is_folded_into_the_first_user_turn_for_a_template_that_refuses_it(
    spec_for: Any, trainer_for: Any, tmp_path: Path
) -> None:
    (tmp_path / "plain.jinja").write_text(WITHOUT_SYSTEM)
    spec = spec_for(SYSTEM, chat_template=str(tmp_path / "plain.jinja"))
    (stop,) = proof(spec).stops
    fix = stop.fixes[0]
    assert fix.changes == {"dataset.missing_parts": "text"}
    fixed_spec = fixed(spec, fix.changes)
    report = proof(fixed_spec)
    assert codes(report) == []
    assert "<|user|>Be short.\n\nOne?" in report.examples[0].text
    trainer = trainer_for(fixed_spec)
    assert proven_rows(report) == trained_rows(trainer)


@pytest.mark.parametrize(
    ("row", "part"),
    [({"system": "Be kind."}, "system"), ({"input": "1, 2"}, "column")],
)
def test_a_column_that_the_prompt_template_has_no_place_for(row: Any, part: str, spec_for: Any) -> None:
    spec = spec_for(
        [{"instruction": "Add.", "output": "3"} | row], prompt_template="### Q: {instruction}\n### A: {output}"
    )
    (warning,) = proof(spec).problems
    assert (warning.code, warning.level, warning.row) == (f"row_lacks_{part}", "warning", 1)
    assert len(warning.fixes) == 2
    for fix in warning.fixes:
        report = proof(fixed(spec, fix.changes))
        assert report.lacking == ()
        assert next(iter(row.values())) in report.examples[0].text


def test_an_alpaca_history_column_is_in_the_text(spec_for: Any) -> None:
    report = proof(spec_for([{"instruction": "And two?", "output": "2", "history": [["One?", "1 it is."]]}]))
    assert report.lacking == ()
    assert "1 it is." in report.examples[0].text


def test_a_set_with_no_usable_row_is_never_good_to_train(spec_for: Any, trainer_for: Any) -> None:
    """A stop, even when the bad rows are left out."""
    spec = spec_for([{"messages": "hi"}] * 9, drop_bad_rows=True)
    assert [stop.code for stop in proof(spec).stops] == ["dataset_empty"]
    with pytest.raises(UserError):
        trainer_for(spec)


def test_a_messy_file_keeps_its_rows(spec_for: Any, trainer_for: Any) -> None:
    """39 rows prompt/response, one stray question/answer row, two broken lines."""
    lines = [json.dumps({"prompt": f"{n}?", "response": f"It is {n}."}) for n in range(39)]
    lines.insert(5, json.dumps({"question": "q", "answer": "a"}))
    spec = spec_for("\n".join([*lines[:20], "{", *lines[20:], '{"prompt": ']) + "\n")
    (stop,) = proof(spec).stops
    assert (stop.code, stop.count) == ("rows_bad", 3)
    (fix,) = stop.fixes
    report = proof(fixed(spec, fix.changes))
    assert not report.stops
    assert sum(rows for _, rows in report.lengths) == 39
    assert len(trainer_for(fixed(spec, fix.changes)).train_dataset) == 39


BROKEN_FIXES = {
    "every row is bad": [{"messages": n} for n in range(1, 7)],
    "most rows are bad": [*PAIRS, *[{"messages": n} for n in range(4)]],
    "rows of a third kind": [{"a": "x", "b": 1, "c": [n]} for n in range(6)],
}


@pytest.mark.parametrize("name", BROKEN_FIXES)
def test_a_fix_is_offered_only_if_it_keeps_most_rows(name: str, spec_for: Any) -> None:
    """Dropping six of six rows is no fix."""
    rows = BROKEN_FIXES[name]
    report = proof(spec_for(rows))
    assert report.stops
    for fix in (fix for problem in report.problems for fix in problem.fixes):
        again = proof(fixed(spec_for(rows), fix.changes))
        assert not again.stops
        assert sum(count for _, count in again.lengths) > len(rows) / 2


def test_a_fix_that_leaves_the_larger_source_out_is_not_offered(spec_for: Any, tmp_path: Path) -> None:
    other = tmp_path / "texts.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in TEXTS * 20))
    (stop,) = proof(spec_for(ALPACA, mix=(str(other),))).stops
    assert (stop.code, stop.fixes) == ("mixed_formats", ())


@pytest.mark.parametrize(
    ("names", "way"),
    [(("human", "Alice"), ["alice=assistant"]), (("Bob", "Alice"), ["bob=user", "alice=assistant"])],
)
def test_the_name_of_a_character_is_offered_for_mapping(
    names: tuple[str, str], way: list[str], spec_for: Any, trainer_for: Any
) -> None:
    """Instead of "no answer"."""
    turns = [{"from": name, "value": f"{name}?"} for name in names]
    spec = spec_for([{"conversations": turns}] * 3)
    (stop,) = proof(spec).stops
    assert stop.code == "rows_bad"
    assert stop.fixes[0].changes == {"dataset.role_names": way}
    fixed_spec = fixed(spec, stop.fixes[0].changes)
    report = proof(fixed_spec)
    assert not report.stops
    assert proven_rows(report) == trained_rows(trainer_for(fixed_spec))
