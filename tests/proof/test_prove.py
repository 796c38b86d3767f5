"""The proof of a dataset against the trainer's own rows, token by token."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest
from datasets import Dataset
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer
from unsloth.chat_templates import CHAT_TEMPLATES, get_chat_template, standardize_sharegpt, train_on_responses_only

from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError
from engine.model import loading
from engine.proof.tokenizers import TokenizerCache
from engine.protocol.data_report import at_length
from tests.helpers.engine_process import with_changes
from tests.helpers.proof_datasets import (
    ALPACA,
    CHATS,
    PAIRS,
    SHAREGPT,
    SYSTEM,
    TEXTS,
    proof,
    proven_rows,
    trained_rows,
)
from tui.text import translation
from tui.text.proof import facts

pytest_plugins = ["tests.helpers.proof_fixtures"]

FORMATS = {
    "alpaca": (ALPACA, {}),
    "alpaca, everything learned": (ALPACA, {"train_on_responses_only": False}),
    "instruction as input": (ALPACA, {"instruction_column": "", "input_column": "instruction"}),
    "alpaca as a chat": (ALPACA, {"written_with": "chat_template"}),
    "messages": (CHATS, {}),
    "messages with a system text": (SYSTEM, {}),
    "sharegpt": (SHAREGPT, {}),
    "question and answer": (PAIRS, {}),
    "template of columns": (PAIRS, {"instruction_column": "Q: {question}", "output_column": "{answer}!"}),
    "plain text": (TEXTS, {}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_proof_has_the_tokens_and_labels_of_the_trainer(name: str, spec_for: Any, trainer_for: Any) -> None:
    rows, settings = FORMATS[name]
    spec = spec_for(rows, **settings)
    report = proof(spec)
    assert not report.stops
    trained = trained_rows(trainer_for(spec))
    assert proven_rows(report) == trained
    assert report.learned_tokens == sum(kept for row in trained for _, kept in row)
    assert all(row.tokens[-1].special and row.tokens[-1].learned for row in report.examples)


@pytest.mark.parametrize("template", sorted(CHAT_TEMPLATES))
def test_named_templates_are_masked_as_in_training(template: str, spec_for: Any, trainer_for: Any) -> None:
    spec = spec_for(CHATS, chat_template=template)
    report = proof(spec)
    try:
        trainer = trainer_for(spec)
    except UserError as failure:  # then the proof must report the same
        refused = failure
    else:
        assert not report.stops, report.stops
        assert proven_rows(report) == trained_rows(trainer)
        return
    assert [problem.code for problem in report.stops] == [refused.code]
    assert report.stops[0].fixes


# Templates with their models' tokens: (the EOS token, the notebooks' markers).
HEADER = "<|start_header_id|>{}<|end_header_id|>\n\n"
FAMILIES = {
    "llama-3.1": ("<|eot_id|>", HEADER.format("user"), HEADER.format("assistant")),
    "llama-3.2": ("<|eot_id|>", HEADER.format("user"), HEADER.format("assistant")),
    "qwen-2.5": ("<|im_end|>", "<|im_start|>user\n", "<|im_start|>assistant\n"),
    "qwen3-instruct": ("<|im_end|>", "<|im_start|>user\n", "<|im_start|>assistant\n"),
    "chatml": ("<|im_end|>", "<|im_start|>user\n", "<|im_start|>assistant\n"),
    "phi-3.5": ("<|end|>", "<|user|>\n", "<|assistant|>\n"),
    "gemma-3": ("<end_of_turn>", "<start_of_turn>user\n", "<start_of_turn>model\n"),
    "mistral": ("</s>", "[INST]", "[/INST]"),
}
SPECIAL = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|im_start|>", "<start_of_turn>",
           "<|user|>", "<|assistant|>", "<|system|>", "[INST]", "[/INST]"]  # fmt: skip


@pytest.fixture
def family(demo: RunSpec, tmp_path: Path) -> Callable[[RunSpec, str], RunSpec]:
    """A spec whose tokenizer has the special tokens of the usual model families, and this EOS token."""

    def make(spec: RunSpec, eos: str) -> RunSpec:
        tokenizer = AutoTokenizer.from_pretrained(demo.model.model_name)
        tokenizer.add_special_tokens({"eos_token": eos, "additional_special_tokens": SPECIAL})
        folder = tmp_path / "family"
        tokenizer.save_pretrained(folder)
        shutil.copy(Path(demo.model.model_name) / "config.json", folder)
        return with_changes(spec, model={"model_name": str(folder)})

    return make


@pytest.mark.parametrize("template", FAMILIES)
def test_the_same_as_training_and_as_a_notebook(
    template: str, spec_for: Any, trainer_for: Any, family: Any, loaded: loading.Loaded, tmp_path: Path
) -> None:
    eos, question, answer = FAMILIES[template]
    spec = family(spec_for(SHAREGPT, chat_template=template), eos)
    report = proof(spec)
    assert not report.stops, report.stops
    assert proven_rows(report) == trained_rows(trainer_for(spec))

    tokenizer = get_chat_template(TokenizerCache().get(spec.model)[0], chat_template=template)
    rows = standardize_sharegpt(Dataset.from_list(SHAREGPT))

    def text(row: dict[str, Any]) -> dict[str, str]:
        written = tokenizer.apply_chat_template(row["conversations"], tokenize=False)
        return {"text": written.removeprefix(tokenizer.bos_token)}

    texts = rows.map(text, remove_columns=rows.column_names)
    args = SFTConfig(
        max_length=512, dataset_text_field="text", output_dir=str(tmp_path), report_to="none", bf16=False
    )
    trainer = SFTTrainer(model=loaded.model, processing_class=tokenizer, train_dataset=texts, args=args)
    trainer = train_on_responses_only(trainer, instruction_part=question, response_part=answer, num_proc=1)
    assert proven_rows(report) == trained_rows(trainer)


def test_truncated_rows_are_the_same_as_in_training(spec_for: Any, trainer_for: Any) -> None:
    rows = [{"instruction": "Count.", "input": "", "output": "1 2 3 4 5 6 7 8 9 10 " * n} for n in (1, 2, 20)]
    spec = spec_for(rows, length=160, max_cut_share=1.0)
    report = proof(spec)
    assert [row.length > 160 for row in report.examples].count(True) >= 1
    assert proven_rows(report) == trained_rows(trainer_for(spec))
    assert at_length(report, 160).rows_cut == sum(row.length > 160 for row in report.examples)
    assert at_length(report, 4096).rows_cut == 0
    # An answer is lost when its first token is cut off.
    first = [next(n for n, token in enumerate(row.tokens) if token.learned) for row in report.examples]
    assert at_length(report, min(first)).answers_lost == first.count(min(first)) + sum(
        f > min(first) for f in first
    )
    assert at_length(report, max(first) + 1).answers_lost == 0


def test_numbers_of_a_report(spec_for: Any) -> None:
    rows = [
        *PAIRS,
        PAIRS[0],
        {"question": "No answer?", "answer": ""},
        {"question": "See <|user|> it?", "answer": "Yes"},
    ]
    report = proof(spec_for(rows, written_with="chat_template"))
    assert (report.rows, report.rows_total, report.exact) == (5, 5, True)
    assert (report.empty_rows, report.duplicate_rows, report.marked_rows) == (1, 1, 1)
    assert {problem.code: problem.row for problem in report.problems} == {
        "rows_empty": 4, "rows_duplicate": 3, "markers_in_text": 5,
    }  # fmt: skip
    assert sum(rows for _, rows in report.lengths) == 4
    assert report.tokens == sum(tokens * rows for tokens, rows in report.lengths)
    assert at_length(report, 512, batch_size=1).padding_share == 0
    assert 0 < at_length(report, 512, batch_size=4).padding_share < 1


@pytest.mark.parametrize("sample_rows", [0, 7])
@pytest.mark.parametrize("weight", ["1", "0.5", "2.5"])
def test_the_proof_measures_the_rows_that_are_drawn(
    weight: str, sample_rows: int, spec_for: Any, trainer_for: Any, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    lines = [{"question": f"What is {n} + {n}?", "answer": f"It is {n + n}."} for n in range(6)]
    other.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    spec = spec_for(PAIRS * 2, mix=(f"{other}, weight={weight}",), sample_rows=sample_rows)
    report = proof(spec)
    trained = trained_rows(trainer_for(spec))
    taken = sorted(set(map(str, trained)))
    assert sorted(set(map(str, proven_rows(report)))) == taken
    assert report.rows == len(trained)
    assert report.rows_total == 10
    assert report.taken == (None if (weight, sample_rows) == ("1", 0) else len(trained))
    assert report.tokens == sum(map(len, trained))
    assert report.learned_tokens == sum(learned for row in trained for _, learned in row)


def test_a_sample_reports_how_many_rows_are_drawn(spec_for: Any) -> None:
    report = proof(spec_for(PAIRS * 50, sample_rows=30), max_rows=40)
    assert report.sampled
    assert (report.rows, report.taken) == (40, 30)


HI, HELLO = CHATS[0]["messages"]
REASONING = [{"messages": [HI, {"role": "assistant", "content": "<think>Greet.</think>Hello."}]}]
CALL = {"function": {"name": "now", "arguments": {"zone": "UTC"}}}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}
TOOL_ROWS = [{"messages": [HI, CALLED, {"role": "tool", "content": "12:30"}, HELLO]}]
CHOSEN = [{"prompt": "Who?", "chosen": "Loris, the slow one.", "rejected": "Qwen"}]
CHOSEN_ONLY = {"format": "alpaca", "instruction_column": "prompt", "output_column": "chosen"}
COMPLETE = ("Everything in the columns that are used is in the text.", "所用各列的全部内容都在文本里。")
REPORTS = {
    "text": (TEXTS, {}, COMPLETE),
    "chat": (CHATS, {}, COMPLETE),
    "tool": (
        TOOL_ROWS, {"missing_parts": "accept"},
        ("Not in the text as it is in the rows: empty answers (1), tool calls (1), tool results (1).",
         "行里有、文本里没有原样写出的：空回答（1 行）、工具调用（1 行）、工具结果（1 行）。"),
    ),
    "tool, as text": (TOOL_ROWS, {"missing_parts": "text"}, COMPLETE),
    "reasoning": (REASONING, {}, COMPLETE),
    "reasoning in a key": (
        [{"messages": [HI, HELLO | {"thinking": "Greet politely."}]}], {},
        ("Not in the text as it is in the rows: thoughts (1).", "行里有、文本里没有原样写出的：思考内容（1 行）。"),
    ),
    "preference": (CHOSEN, CHOSEN_ONLY, COMPLETE),
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTS)
def test_the_report_says_that_everything_in_the_row_is_in_the_text_or_what_is_not(name: str, spec_for: Any) -> None:
    rows, settings, lines = REPORTS[name]
    report = proof(spec_for(rows, **settings))
    assert report.stops == ()
    for code, line in zip(("en", "zh"), lines, strict=True):
        translation.set_language(code)
        try:
            assert line in facts(report)
        finally:
            translation.set_language("en")
    assert bool(report.lacking) == (lines != COMPLETE)


def test_rows_are_held_out_before_weights_and_duplicates_multiply_them(
    spec_for: Any, trainer_for: Any, tmp_path: Path
) -> None:
    """With weight=3 and test_size 0.2, 12 of 16 held-out rows were trained on."""
    other = tmp_path / "other.jsonl"
    lines = [{"question": f"What is {n} + {n}?", "answer": f"It is {n + n}."} for n in [*range(10), *range(5)]]
    other.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    spec = spec_for(PAIRS * 5, mix=(f"{other}, weight=3",), test_size=0.2)
    report = proof(spec)
    trainer = trainer_for(spec)
    trained = [tuple(ids) for ids in trainer.train_dataset["input_ids"]]
    held_out = [tuple(ids) for ids in trainer.eval_dataset["input_ids"]]
    assert not set(trained) & set(held_out)
    assert len(held_out) == len(set(held_out)) == report.held_out_rows == 3  # of 12 different texts
    (apart,) = [problem for problem in report.problems if problem.code == "rows_kept_apart"]
    assert apart.count == report.kept_apart_rows > 0
    # Every row is trained on, held out or kept apart.
    assert sum(any(row in side for side in (trained, held_out)) for row in {*trained, *held_out}) == 12
    once = 10 + 15 - report.held_out_rows - report.kept_apart_rows
    assert once <= len(trained) <= 3 * once


def test_evaluation_data_that_is_trained_on_is_told(spec_for: Any, tmp_path: Path) -> None:
    (tmp_path / "eval.jsonl").write_text(json.dumps(PAIRS[0]) + "\n" + json.dumps({"question": "q", "answer": "a"}))
    report = proof(spec_for(PAIRS, eval_path=str(tmp_path / "eval.jsonl")))
    assert [(problem.code, problem.count) for problem in report.problems] == [("rows_on_both_sides", 1)]


@pytest.mark.parametrize("mask", [{"weight": 0}, {"train": False}])
def test_a_turn_with_weight_0_is_masked_as_in_training(
    mask: dict[str, Any], spec_for: Any, trainer_for: Any
) -> None:
    first, second = CHATS[1]["messages"][:2], CHATS[1]["messages"][2:]
    rows = [CHATS[0], {"messages": [first[0], first[1] | mask, *second]}, {"messages": [first[0], first[1] | mask]}]
    report = proof(spec_for(rows))
    trainer = trainer_for(spec_for(rows))
    assert not report.stops
    assert proven_rows(report) == trained_rows(trainer)
    learned = [
        "".join(token.text for token in row.tokens if token.learned) for row in report.examples if row.tokens
    ]
    assert [text.replace("</s>", "").strip() for text in learned] == ["Hello there.", "Two: 二"]
    assert (report.turns.learned, report.turns.masked, report.turns.dropped) == (2, 4, 2)
    (stop,) = proof(spec_for(rows, train_on_responses_only=False)).stops
    assert (stop.code, stop.count, stop.field) == ("rows_bad", 1, "dataset.train_on_responses_only")
    assert [fix.changes for fix in stop.fixes] == [{"dataset.train_on_responses_only": True}]


@pytest.mark.parametrize("name", ["csv", "jsonl"])
def test_text_in_another_encoding_is_converted_by_a_fix(name: str, spec_for: Any, tmp_path: Path) -> None:
    table = "question,answer\n" + "你好吗，请介绍一下你自己,我是一只懒猴\n" * 3
    lines = json.dumps({"question": "你好吗，请介绍一下", "answer": "我是懒猴"}, ensure_ascii=False) + "\n"
    path = tmp_path / f"gbk.{name}"
    path.write_bytes((table if name == "csv" else lines * 3).encode("gbk"))
    (stop,) = proof(spec_for(PAIRS, path=str(path))).stops
    assert "gb18030" in str(stop.message)
    (fix,) = stop.fixes
    assert fix.changes == {"dataset.encoding": "gb18030"}
    report = proof(spec_for(PAIRS, path=str(path), encoding="gb18030"))
    assert not report.stops
    assert "懒猴" in report.examples[0].text


def test_what_is_not_used_is_listed(spec_for: Any) -> None:
    turns = [turn | {"id": 1, "weight": 1} for turn in CHATS[0]["messages"]]
    report = proof(spec_for([{"messages": turns, "score": 5, "note": ""}, {"messages": turns, "score": None}]))
    assert [(one.kind, one.name, one.rows) for one in report.unused] == [("column", "score", 1), ("key", "id", 2)]
    lines = "\n".join(facts(report))
    assert "Columns not used: score." in lines
    assert "Keys of turns not used: id." in lines
    assert "Turns: 2 learned, 2 masked, 0 in no text." in lines


def test_a_guess_is_a_warning(spec_for: Any) -> None:
    report = proof(spec_for([{"en": "Who?", "de": "Wer?"}, {"en": "What?", "de": "Was?"}]))
    assert [(problem.code, problem.level) for problem in report.problems] == [("format_guessed", "warning")]
    assert report.problems[0].fixes
