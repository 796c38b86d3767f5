"""The proof of a dataset against the trainer's own rows, token by token; its stops, and their fixes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

# isort: off
import unsloth  # noqa: F401  first, for it patches the others
# isort: on

import pytest
from datasets import Dataset
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer
from unsloth.chat_templates import CHAT_TEMPLATES, get_chat_template, standardize_sharegpt, train_on_responses_only

from engine import data, learned, model, train
from engine.failures import RunFailed
from engine.proof.proof import Tokenizers, prove
from engine.record import EventWriter
from engine.spec.check import build
from engine.spec.files import to_values
from engine.spec.folder import RunFolder
from engine.spec.report import DataReport, at_length
from engine.spec.run import RunSpec
from tests.engine.process import changed

Rows = list[dict[str, Any]]
ALPACA: Rows = [
    {"instruction": "Who are you?", "input": "", "output": "I am Loris."},
    {"instruction": "Add the numbers.", "input": "2\n3", "output": "2 + 3 = 5.\n\nThat is all."},
    {"instruction": "你是谁？", "input": None, "output": "我是懒猴 Loris。🦥"},
]
CHATS: Rows = [
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there."}]},
    {"messages": [
        {"role": "user", "content": "One?"}, {"role": "assistant", "content": "1"},
        {"role": "user", "content": "And two?\n\nSay it."}, {"role": "assistant", "content": "Two: 二"},
    ]},
]  # fmt: skip
SYSTEM: Rows = [{"messages": [{"role": "system", "content": "Be short."}, *CHATS[1]["messages"]]}]
SHAREGPT: Rows = [
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}], "score": n}
    for n in range(3)
]
PAIRS: Rows = [{"question": "Capital of France?", "answer": "Paris"}, {"question": "2 + 2?", "answer": "4"}]
TEXTS: Rows = [{"text": "Lorises are slow. They live in trees."}, {"text": "第二段文字。"}]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> EventWriter:
    return EventWriter(tmp_path_factory.mktemp("proof") / "events.jsonl")


@pytest.fixture(scope="module")
def loaded(demo: RunSpec, record: EventWriter) -> model.Loaded:
    found = model.load(demo.model, record)
    model.add_adapter(found, demo.lora, demo.model.max_seq_length, record)
    return found


@pytest.fixture
def spec_for(demo: RunSpec, tmp_path: Path) -> Callable[..., RunSpec]:
    def make(rows: Rows | str, length: int = 512, **dataset: Any) -> RunSpec:
        path = tmp_path / "rows.jsonl"
        lines = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(lines, encoding="utf-8")
        return changed(demo, dataset={"path": str(path), **dataset}, model={"max_seq_length": length})

    return make


def proof(spec: RunSpec, most: int | None = None) -> DataReport:
    return prove(spec, Tokenizers(), lambda progress: None, lambda: False, most)


@pytest.fixture
def trainer_for(loaded: model.Loaded, record: EventWriter, tmp_path: Path) -> Callable[[RunSpec], Any]:
    """The trainer that the engine would train with, its rows masked and looked at."""

    def make(spec: RunSpec) -> Any:
        tokenizer = Tokenizers().get(spec.model)
        prepared, tokenizer = data.prepare(spec, tokenizer, [tokenizer.eos_token_id], record)
        trainer = SFTTrainer(
            model=loaded.model, processing_class=tokenizer, train_dataset=prepared.train,
            args=train.arguments(loaded, spec, RunFolder(tmp_path), len(prepared.train), record),
        )  # fmt: skip
        if prepared.response_part:
            train.mask(trainer, prepared.instruction_part, prepared.response_part, spec)
        learned.look(trainer, prepared, spec, [tokenizer.eos_token_id], record)
        return trainer

    return make


def trained_rows(trainer: Any) -> list[list[tuple[int, bool]]]:
    """(token, learned) of every row of the trainer's dataset."""
    rows = trainer.train_dataset
    labels = rows["labels"] if "labels" in rows.column_names else rows["input_ids"]
    return [
        [(token, label != learned.MASKED) for token, label in zip(ids, marks, strict=True)]
        for ids, marks in zip(rows["input_ids"], labels, strict=True)
    ]


def proven_rows(report: DataReport) -> list[list[tuple[int, bool]]]:
    return [[(token.id, token.learned) for token in row.tokens] for row in report.examples if row.learned]


FORMATS = {
    "alpaca": (ALPACA, {}),
    "alpaca, everything learned": (ALPACA, {"train_on_responses_only": False}),
    "instruction as input": (ALPACA, {"instruction_column": "", "input_column": "instruction"}),
    "alpaca as a chat": (ALPACA, {"written_with": "chat_template"}),
    "messages": (CHATS, {}),
    "sharegpt": (SHAREGPT, {}),
    "question and answer": (PAIRS, {}),
    "template of columns": (PAIRS, {"instruction_column": "Q: {question}", "output_column": "{answer}!"}),
    "plain text": (TEXTS, {}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_proven_is_what_is_trained(name: str, spec_for: Any, trainer_for: Any) -> None:
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
    except RunFailed as failure:  # then the proof must say the same
        refused = failure
    else:
        assert not report.stops, report.stops
        assert proven_rows(report) == trained_rows(trainer)
        return
    assert [problem.code for problem in report.stops] == [refused.code]
    assert report.stops[0].fixes


# Templates with the tokens that their models have: (the one that ends an answer, the notebooks' markers).
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
    """A spec whose tokenizer has the special tokens of the usual families, and this one at the end."""

    def make(spec: RunSpec, eos: str) -> RunSpec:
        tokenizer = AutoTokenizer.from_pretrained(demo.model.model_name)
        tokenizer.add_special_tokens({"eos_token": eos, "additional_special_tokens": SPECIAL})
        folder = tmp_path / "family"
        tokenizer.save_pretrained(folder)
        shutil.copy(Path(demo.model.model_name) / "config.json", folder)
        return changed(spec, model={"model_name": str(folder)})

    return make


@pytest.mark.parametrize("template", FAMILIES)
def test_the_same_as_training_and_as_a_notebook(
    template: str, spec_for: Any, trainer_for: Any, family: Any, loaded: model.Loaded, tmp_path: Path
) -> None:
    eos, question, answer = FAMILIES[template]
    spec = family(spec_for(SHAREGPT, chat_template=template), eos)
    report = proof(spec)
    assert not report.stops, report.stops
    assert proven_rows(report) == trained_rows(trainer_for(spec))

    tokenizer = get_chat_template(Tokenizers().get(spec.model), chat_template=template)
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


def test_cut_rows_are_proven_as_they_are_trained(spec_for: Any, trainer_for: Any) -> None:
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
def test_each_stop_has_a_fix_that_mends_it(name: str, spec_for: Any, trainer_for: Any) -> None:
    code, rows, length, settings = STOPS[name]
    spec = spec_for(rows, length=length, **settings)
    report = proof(spec)
    assert [problem.code for problem in report.stops] == [code]
    stop = report.stops[0]
    with pytest.raises(RunFailed):  # the engine stops there, too
        trainer_for(spec)
    assert stop.fixes
    for fix in stop.fixes:
        mended = fixed(spec, fix.changes)
        again = proof(mended)
        assert stop.code not in [problem.code for problem in again.stops], fix
        if not again.stops:
            trainer_for(mended)


def fixed(spec: RunSpec, changes: dict[str, Any]) -> RunSpec:
    """The spec with the changes of a fix, as the terminal makes them."""
    values = to_values(spec)
    for path, value in changes.items():
        section, _, key = path.partition(".")
        values[section][key] = value
    found, errors = build(values)
    assert found, errors
    return found


def test_a_model_whose_template_ends_no_answer(
    spec_for: Any, trainer_for: Any, demo: RunSpec, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(demo.model.model_name)
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    tokenizer.save_pretrained(tmp_path / "endless")
    shutil.copy(Path(demo.model.model_name) / "config.json", tmp_path / "endless")
    spec = changed(spec_for(CHATS), model={"model_name": str(tmp_path / "endless")})
    (stop,) = proof(spec).stops
    assert stop.code == "eos_missing"
    with pytest.raises(RunFailed) as refused:
        trainer_for(spec)
    assert refused.value.code == "eos_missing"
    assert stop.fixes
    for fix in stop.fixes:
        mended = fixed(spec, fix.changes)
        report = proof(mended)
        assert not report.stops
        assert all(
            any(token.text == report.eos_token and token.learned for token in row.tokens[-3:])
            for row in report.examples
        )
        assert proven_rows(report) == trained_rows(trainer_for(mended))


def test_chats_cannot_be_mixed_with_a_prompt_text(spec_for: Any, trainer_for: Any, tmp_path: Path) -> None:
    other = tmp_path / "chats.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in CHATS))
    spec = spec_for(ALPACA, mix=(str(other),), written_with="prompt_template")
    (stop,) = proof(spec).stops
    assert stop.code == "mixed_formats"
    with pytest.raises(RunFailed):
        trainer_for(spec)
    (fix,) = stop.fixes
    mended = fixed(spec, fix.changes)
    report = proof(mended)
    assert not report.stops
    assert sorted(proven_rows(report)) == sorted(trained_rows(trainer_for(mended)))


def test_a_text_is_no_chat(spec_for: Any, trainer_for: Any, tmp_path: Path) -> None:
    other = tmp_path / "texts.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in TEXTS))
    spec = spec_for(ALPACA, mix=(str(other),))
    (stop,) = proof(spec).stops
    assert stop.code == "mixed_formats"
    (fix,) = stop.fixes
    mended = fixed(spec, fix.changes)
    report = proof(mended)
    assert not report.stops
    assert proven_rows(report) == trained_rows(trainer_for(mended))


def test_a_bad_row_is_named_with_its_value(spec_for: Any) -> None:
    report = proof(spec_for([*CHATS, {"messages": "Hello"}]))
    (stop,) = report.stops
    assert (stop.row, stop.count) == (3, 1)
    assert "Hello" in stop.value
    assert "3" in str(stop.message)


def test_a_sample_says_that_it_is_one(spec_for: Any) -> None:
    rows = [{"question": f"{n}?", "answer": f"It is {n}."} for n in range(2000)]
    report = proof(spec_for(rows), most=500)
    assert report.sampled
    assert report.rows == 500
    assert not report.exact
    assert abs(report.rows_total - 2000) < 200


def test_a_large_file_of_lines_is_sampled_from_all_of_it(spec_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.proof.sample.SAMPLED_BYTES", 1000)
    rows = [{"question": f"{n}?", "answer": "short" if n < 3000 else "a longer answer"} for n in range(6000)]
    spec = spec_for(rows)
    report = proof(spec, most=1500)
    assert report.sampled
    assert 1000 < report.rows <= 1500
    assert (report.rows_total, report.exact) == (6000, True)
    assert report.duplicate_rows == 0
    assert max(row.number for row in report.examples) <= 20
    longest = max(tokens for tokens, _ in report.lengths)
    assert sum(rows for tokens, rows in report.lengths if tokens >= longest - 5) > 100  # the end was seen as well


def test_rows_without_any_answer_are_a_stop(spec_for: Any, trainer_for: Any) -> None:
    rows = [{"question": "One?", "answer": "1"}] * 150 + [{"question": "Two?", "answer": " "}] * 20
    spec = spec_for(rows, split="train[150:]")
    (stop,) = proof(spec).stops
    assert stop.code in ("dataset_empty", "column_missing", "format_unknown")
    with pytest.raises(RunFailed):
        trainer_for(spec)


def test_the_rows_that_are_left_out_are_written_down(
    spec_for: Any, trainer_for: Any, record: EventWriter, loaded: model.Loaded
) -> None:
    """The fix that drops rows, to its end: the report counts them, and the engine lists the same ones."""
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
    mended = fixed(spec, fix.changes)
    report = proof(mended)
    assert not report.stops
    assert report.bad_rows == stop.count == 2
    assert proven_rows(report) == trained_rows(trainer_for(mended))
    lines = RunFolder(record.folder).dropped.read_text().splitlines()
    assert [json.loads(line)["row"] for line in lines] == [3, 4]
