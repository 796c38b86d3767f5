"""From rows to what is learned, in this process: formats, markers, masks, and every error."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest
from datasets import Dataset
from unsloth.chat_templates import standardize_sharegpt

from engine.config.prompt_templates import ALPACA, ALPACA_ZH
from engine.config.run_spec import RunSpec
from engine.config.sources import main_source
from engine.dataset.turns import as_string, normalize_turns
from engine.messages.errors import UserError
from engine.model import loading
from engine.prompting.prompt_format import PromptFormat, encode, prompt_format_for
from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from engine.runtime.event_writer import EventWriter
from engine.training import check_labels, load_rows, prepare, recipe
from tests.helpers.engine_process import with_changes

pytest_plugins = ["tests.helpers.proof_fixtures"]

Rows = list[dict[str, Any]]
ALPACA_ROWS: Rows = [
    {"instruction": "Who are you?", "input": "", "output": "I am {input} Loris."},
    {"instruction": "Add.", "input": None, "output": "2 + 3 = 5."},
    {"instruction": "Count {output}.", "input": "1\n2", "output": "3\n\n### Response: no"},
]


@pytest.fixture
def spec_for(demo: RunSpec, tmp_path: Path) -> Callable[..., RunSpec]:
    """Writes rows to a file, and returns a spec for it with these dataset settings."""

    def make(rows: Rows | str, **dataset: Any) -> RunSpec:
        path = tmp_path / "rows.json"
        path.write_text(rows if isinstance(rows, str) else json.dumps(rows), encoding="utf-8")
        return with_changes(demo, dataset={"path": str(path), **dataset})

    return make


@pytest.fixture
def dataset_ready(
    loaded: loading.Loaded, record: EventWriter, tmp_path: Path
) -> Callable[[RunSpec], tuple[ev.DatasetReady, Any]]:
    """(the report, the trainer) of a spec. It never trains."""

    def make(spec: RunSpec) -> tuple[ev.DatasetReady, Any]:
        stops = loading.stop_ids(loaded)
        data = prepare.prepare(spec, loaded.tokenizer, stops, record)
        config = recipe.training_arguments(data.method, loaded, RunFolder(tmp_path), len(data.train), record)
        trainer = data.method.trainer(loaded, data, config)
        stops = [*stops, data.method.tokenizer.eos_token_id]
        return data.method.check(trainer, data, stops, record), trainer

    return make


def error_of(action: Callable[[], Any]) -> UserError:
    """The error that an action raises; it names a field, so that a form can show it."""
    with pytest.raises(UserError) as caught:
        action()
    assert caught.value.field
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize("template", [ALPACA, ALPACA_ZH], ids=["en", "zh"])
@pytest.mark.parametrize("responses_only", [True, False])
def test_alpaca_rows_end_and_are_masked(
    spec_for: Any, dataset_ready: Any, loaded: loading.Loaded, template: str, responses_only: bool
) -> None:
    spec = spec_for(ALPACA_ROWS, prompt_template=template, train_on_responses_only=responses_only)
    report, trainer = dataset_ready(spec)
    assert report.format == "alpaca"
    assert report.rows == 3
    assert report.truncated_rows == 0
    eos = loaded.tokenizer.eos_token
    for row, tokenized in zip(ALPACA_ROWS, trainer.train_dataset, strict=True):
        ids, labels = check_labels.collated(trainer, tokenized)
        kept = [label for label in labels if label != check_labels.MASKED]
        assert kept[-1] == loaded.tokenizer.eos_token_id
        assert ids.count(loaded.tokenizer.bos_token_id) == 1
        text = loaded.tokenizer.decode(ids, skip_special_tokens=True)
        assert row["instruction"] in text
        if responses_only:
            assert loaded.tokenizer.decode(kept) == row["output"] + eos
        else:
            assert len(ids) - len(kept) <= 1  # without padding, on a GPU, a row's first token is masked


def test_an_alpaca_text_ends_with_eos_before_the_trainer_adds_it(loaded: loading.Loaded) -> None:
    text = PromptFormat("alpaca", ALPACA).training_text(loaded.tokenizer, ALPACA_ROWS[0])
    assert text.endswith(ALPACA_ROWS[0]["output"] + loaded.tokenizer.eos_token)


def test_instruction_and_output_alone_are_enough(spec_for: Any, dataset_ready: Any, loaded: loading.Loaded) -> None:
    rows = [{"instruction": "谁？", "output": "懒猴。"}]
    report, _ = dataset_ready(spec_for(rows))
    assert report.columns == ("instruction", "output")
    spec = spec_for(rows, instruction_column="", input_column="instruction")
    report, _ = dataset_ready(spec)
    assert "### Instruction:\n\n\n### Input:\n谁？" in report.example_text
    prompt_format = prompt_format_for(spec.dataset, "alpaca")
    assert "### Input:\n谁？" in prompt_format.prompt(loaded.tokenizer, [{"role": "user", "content": "谁？"}])


def test_the_prompt_is_the_start_of_the_training_text(
    spec_for: Any, dataset_ready: Any, loaded: loading.Loaded
) -> None:
    chats = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}]
    asks = [{"role": "user", "content": "Who are you?"}]
    for rows, ask, answer in ((ALPACA_ROWS, asks, "I am"), (chats, [{"role": "user", "content": "Hi"}], "Hel")):
        spec = spec_for(rows)
        report, trainer = dataset_ready(spec)
        prompt_format = prompt_format_for(spec.dataset, report.format)
        prompt = encode(loaded.tokenizer, prompt_format.prompt(loaded.tokenizer, ask))
        first = trainer.train_dataset["input_ids"][0]
        assert first[: len(prompt)] == prompt
        assert loaded.tokenizer.decode(first[len(prompt) :]).startswith(answer)


def test_sharegpt_is_read_as_unsloth_reads_it(spec_for: Any, dataset_ready: Any) -> None:
    rows = [
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "score": 1.0},
        {"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Loris"}], "score": 2.0},
    ]
    standard = standardize_sharegpt(Dataset.from_list(rows))
    assert [normalize_turns(row["conversations"]) for row in rows] == list(standard["conversations"])
    report, _ = dataset_ready(spec_for([*rows, {"conversations": [], "score": None}]))
    assert report.rows == 2
    assert report.example_learned == "Hello</s>"
    assert report.example_text.count("<s>") == 1


def test_plain_text_is_learned_completely(spec_for: Any, dataset_ready: Any) -> None:
    report, trainer = dataset_ready(spec_for([{"text": "Once upon a time."}, {"text": "The end."}]))
    assert (report.format, report.rows, report.response_part) == ("plain", 2, "")
    assert report.example_learned.endswith("Once upon a time.</s>")
    assert report.learned_tokens == report.tokens
    assert trainer.train_dataset[1]["input_ids"][-1] == 2


def test_pairs_are_learned_as_chats(spec_for: Any, dataset_ready: Any) -> None:
    rows = [{"question": "Who?", "answer": "Loris"}, {"question": "Where?", "answer": "Here"}]
    settings = {"written_with": "chat_template", "system_column": "=Be kind."}
    report, _ = dataset_ready(spec_for(rows, **settings))
    assert report.format == "messages"
    text = report.example_text.replace("|> ", "|>")  # spaces added by the tokenizer
    assert text == "<s><|system|>Be kind.<|user|>Who?<|assistant|>Loris</s>"
    assert report.example_learned == "Loris</s>"
    tools = [{"messages": [
        {"role": "user", "content": "Time?"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "now", "arguments": "{}"}}]},
        {"role": "tool", "content": "noon"},
        {"role": "assistant", "content": "Noon."},
    ]}]  # fmt: skip
    spec = spec_for(tools, missing_parts="accept")
    assert dataset_ready(spec)[0].example_learned.replace("</s>", "").strip() == "Noon."


def test_rows_of_evaluation_data_are_measured(spec_for: Any, dataset_ready: Any, tmp_path: Path) -> None:
    (tmp_path / "eval.json").write_text(json.dumps([{"question": "Who?", "answer": "Loris"}]))
    spec = spec_for(ALPACA_ROWS, eval_path=str(tmp_path / "eval.json"))
    report, trainer = dataset_ready(spec)
    assert (report.rows, report.eval_rows) == (3, 1)
    assert str(trainer.args.eval_strategy.value) == "steps"


def test_null_content_is_empty_text(spec_for: Any, dataset_ready: Any) -> None:
    rows = [{"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "Yes"}]}]
    assert dataset_ready(spec_for(rows))[0].example_learned == "Yes</s>"


def test_every_assistant_turn_is_learned(spec_for: Any, dataset_ready: Any, loaded: loading.Loaded) -> None:
    turns = [("user", "Hi"), ("assistant", "Hello"), ("user", "Who?"), ("assistant", "Loris")]
    rows = [{"messages": [{"role": role, "content": content} for role, content in turns]}]
    assert dataset_ready(spec_for(rows))[0].example_learned.split() == ["Hello</s>", "Loris</s>"]


def test_a_named_template_and_markers_given_by_the_spec(spec_for: Any, dataset_ready: Any) -> None:
    rows = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}]
    report, _ = dataset_ready(spec_for(rows, chat_template="chatml"))
    assert report.instruction_part.strip() == "<|im_start|>user"
    assert report.response_part.strip() == "<|im_start|>assistant"
    assert report.example_learned == "Hello<|im_end|>"
    given = spec_for(rows, instruction_part="<|user|>", response_part="<|assistant|>")
    assert dataset_ready(given)[0].example_learned == "Hello</s>"


def test_rows_are_held_out_and_truncated(demo: RunSpec, spec_for: Any, dataset_ready: Any) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "na " * n}]}
        for n in range(1, 101)
    ]
    spec = with_changes(spec_for(rows, test_size=0.2, max_cut_share=1.0), model={"max_seq_length": 60})
    report, _ = dataset_ready(spec)
    assert (report.rows, report.eval_rows) == (80, 20)
    assert 0 < report.truncated_rows < 80
    assert error_of(lambda: dataset_ready(spec_for(rows[:1], test_size=0.2))).field == "dataset.test_size"


@pytest.mark.parametrize(
    ("rows", "settings", "code", "field"),
    [
        ("", {}, "dataset_empty", "dataset.path"),
        ("[]", {}, "dataset_empty", "dataset.path"),
        ("{broken", {}, "dataset_broken", "dataset.path"),
        (ALPACA_ROWS, {"path": "/nowhere/data.json"}, "dataset_missing", "dataset.path"),
        (ALPACA_ROWS, {"split": "test"}, "split_missing", "dataset.split"),
        (ALPACA_ROWS, {"split": "train[:0]"}, "dataset_empty", "dataset.path"),
        (ALPACA_ROWS, {"output_column": "answer"}, "column_missing", "dataset.output_column"),
        (ALPACA_ROWS, {"instruction_column": "q"}, "column_missing", "dataset.instruction_column"),
        (ALPACA_ROWS, {"format": "messages"}, "column_missing", "dataset.messages_column"),
        ([{"messages": "no turns"}], {}, "bad_row", "dataset.messages_column"),
        ([{"messages": []}], {}, "dataset_empty", "dataset.path"),
        (
            [{"messages": [{"role": "user", "content": "Hi"}]}],
            {"chat_template": "lama-3"},
            "template_unknown",
            "dataset.chat_template",
        ),
        (
            ALPACA_ROWS,
            {"prompt_template": "{instruction}\n{output}"},
            "markers_missing",
            "dataset.response_part",
        ),
        (
            ALPACA_ROWS,
            {"instruction_part": "<|nobody|>", "response_part": "<|nowhere|>"},
            "nothing_learned",
            "dataset.response_part",
        ),
    ],
)  # fmt: skip
def test_unusable_data_is_rejected(
    spec_for: Any, dataset_ready: Any, rows: Any, settings: dict[str, Any], code: str, field: str
) -> None:
    failure = error_of(lambda: dataset_ready(spec_for(rows, **settings)))
    assert (failure.code, failure.field) == (code, field)
    assert str(failure.message)


def test_a_missing_column_is_reported_with_the_existing_ones(spec_for: Any, dataset_ready: Any) -> None:
    failure = error_of(lambda: dataset_ready(spec_for(ALPACA_ROWS, output_column="answer")))
    assert "instruction, input, output" in str(failure.message)


def test_a_base_model_without_a_template_is_rejected(
    spec_for: Any, loaded: loading.Loaded, record: EventWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}]
    monkeypatch.setattr(loaded.tokenizer, "chat_template", None)
    failure = error_of(lambda: prepare.prepare(spec_for(rows), loaded.tokenizer, [2], record))
    assert failure.code == "no_chat_template"
    assert "chatml" in str(failure.hint)
    asked = PromptFormat("plain").prompt(loaded.tokenizer, [{"role": "user", "content": "Once"}])
    assert asked == "Once"


ROW = '{"instruction": "Who?", "output": "Loris"}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.json", b"\xef\xbb\xbf[" + ROW.encode() + b"]"),
        ("under a key.json", b'{"version": "1", "data": [' + ROW.encode() + b"]}"),
        ("v[2]*?.jsonl", ROW.encode() + b"\n"),
    ],
)
def test_the_engine_reads_the_files_that_the_preflight_reads(
    demo: RunSpec, tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    spec = with_changes(demo, dataset={"path": str(path)}).dataset
    assert load_rows.fetch(spec, main_source(spec)).first(9) == [{"instruction": "Who?", "output": "Loris"}]


def test_rows_without_an_answer_are_left_out(spec_for: Any, dataset_ready: Any) -> None:
    rows = [{"instruction": "a", "output": text} for text in ("Loris", "", " ", None)]
    assert dataset_ready(spec_for(rows))[0].rows == 1
    user, assistant = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
    chats = [{"messages": turns} for turns in ([user], [user, assistant, user], [user, assistant])]
    report, _ = dataset_ready(spec_for(chats))
    assert report.rows == 2
    assert report.example_text.endswith("Hello</s>")
    assert error_of(lambda: dataset_ready(spec_for(chats[:1]))).code == "dataset_empty"


def test_dates_and_content_parts_become_text() -> None:
    assert as_string(datetime(2026, 11, 23)) == "2026-11-23"
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert normalize_turns([{"role": "user", "content": parts}])[0]["content"] == "ab"
