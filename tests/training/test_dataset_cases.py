"""Every dataset of the table, as the terminal reads it before an engine runs and as the engine prepares it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest
from transformers import AutoTokenizer

from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec, save_spec
from engine.dataset.mapping import Mapping
from engine.dataset.peek import check_dataset, peek
from engine.messages.errors import UserError
from engine.prompting import mask_markers, prompt_format
from engine.protocol import events as ev
from engine.runtime.event_writer import EventWriter
from engine.training import load_rows, prepare
from engine.training.row_check import check_row
from tests.helpers.dataset_cases import BAD, CASES, GOOD, Case
from tests.helpers.engine_process import with_changes


@pytest.fixture(scope="session")
def tokenizer_files(demo: RunSpec) -> str:
    return demo.model.model_name


@pytest.fixture
def tokenizer(tokenizer_files: str) -> Any:
    """The demo's tokenizer, loaded again for each test: named templates change it."""
    return AutoTokenizer.from_pretrained(tokenizer_files)


@pytest.fixture
def spec_of(demo: RunSpec, tmp_path: Path) -> Callable[[Case], RunSpec]:
    """Writes a case to disk and loads its spec from a file, as relative paths start from there."""

    def make(case: Case) -> RunSpec:
        folder = tmp_path / "case"
        folder.mkdir()
        case.write(folder)
        spec = with_changes(demo, dataset={**case.settings, "path": str(folder / case.path)})
        save_spec(folder / ".spec.yaml", spec)
        return load_spec(folder / ".spec.yaml")

    return make


def test_the_table_is_large_and_its_names_are_unique() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_a_good_dataset(case: Case, spec_of: Any, tokenizer: Any, tmp_path: Path) -> None:
    spec = spec_of(case)
    peeked = peek(spec.dataset.path, data=spec.dataset)
    assert peeked.error is None
    assert peeked.detected
    assert peeked.detected.problem is None
    assert check_dataset(spec.dataset) == []
    assert peeked.format == case.kind
    for role, filler in case.mapping.items():
        assert getattr(peeked.detected.mapping, role) == filler
    assert str(peeked.detected.why)
    assert 0 < peeked.detected.confidence <= 1

    (tmp_path / "run").mkdir()
    record = EventWriter(tmp_path / "run/events.jsonl")
    prepared = prepare.prepare(spec, tokenizer, [tokenizer.eos_token_id], record)
    method = prepared.method
    first = prepared.train["text"][0].removeprefix("<s>")  # on a GPU the text itself contains it
    assert first == case.text
    assert len(prepared.train) == case.rows
    # The terminal reads what the engine prepares.
    example = peeked.detected.mapping.example(peeked.rows[0])
    assert method.text(example).removeprefix("<s>") == first
    assert prepared.columns == peeked.columns
    assert peeked.exact
    if not case.settings:
        assert peeked.total == case.rows + case.dropped
    left_out = tmp_path / "run/dropped.jsonl"
    found = [json.loads(line) for line in left_out.read_text().splitlines()] if left_out.exists() else []
    assert len(found) == case.dropped
    assert all(line["reason"] and line["row"] > 1 for line in found)
    events = [ev.decode(line) for line in (tmp_path / "run/events.jsonl").read_bytes().splitlines()]
    notices = [event.code for event in events if isinstance(event, ev.Notice)]
    assert sorted(code.removeprefix("row_lacks_") for code in notices if "left_out" not in code) == sorted(
        case.lacks
    )
    assert len(notices) == len(case.lacks) + bool(case.dropped)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_a_bad_dataset(case: Case, spec_of: Any, tokenizer: Any, tmp_path: Path) -> None:
    spec = spec_of(case)
    field, words = case.error
    peek(spec.dataset.path, data=spec.dataset)  # never raises
    errors = check_dataset(spec.dataset)
    if case.late:
        assert errors == []
    else:
        assert [error.field for error in errors] == [field]
        assert words in str(errors[0].message)
    (tmp_path / "run").mkdir()
    record = EventWriter(tmp_path / "run/events.jsonl")
    with pytest.raises(UserError) as caught:
        prepare.prepare(spec, tokenizer, [tokenizer.eos_token_id], record)
    assert caught.value.exit_code == 2
    if caught.value.code != "dataset_empty":
        assert caught.value.field == field
        assert words in str(caught.value.message)


MESSAGES = Mapping(kind="messages", turns=("messages",))
# Named chat templates: the markers are found and leave only answers and their ends, or an error says why not.

TURNS = [
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "I am Loris."},
    {"role": "user", "content": "What do you eat?"},
    {"role": "assistant", "content": "Fruit: figs.\nAnd gum."},
]
# Templates that the demo's tokenizer supports; the others need a model with their tokens.
FITTING = {
    "unsloth",
    "zephyr",
    "chatml",
    "mistral",
    "llama",
    "vicuna",
    "vicuna_old",
    "vicuna old",
    "alpaca",
    "gemma",
    "gemma2",
}


@pytest.fixture
def prepare_with_template(spec_of: Any, tokenizer: Any, tmp_path: Path) -> Callable[..., Any]:
    def make(name: str, own: Any = None) -> Any:
        rows = json.dumps([{"messages": TURNS}])
        spec = spec_of(Case("named", "d.json", lambda folder: (folder / "d.json").write_text(rows)))
        spec = with_changes(spec, dataset={"chat_template": name})
        used = own or tokenizer
        return prepare.prepare(spec, used, [used.eos_token_id], EventWriter(tmp_path / "events.jsonl"))

    return make


def with_tokens_of(name: str, tokenizer: Any) -> Any:
    """The tokenizer with the special tokens of this template, and its EOS token."""
    template = prompt_format.CHAT_TEMPLATES[name][0]
    tokenizer.chat_template = template
    tail = prompt_format.after_answer(tokenizer)
    marks = re.findall(r"<[^<>\s'\"{}%]+>", template)
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(set(marks) - {"<s>", "</s>"})})
    if end := re.search(r"<[^<>\s]+>", tail):
        tokenizer.eos_token = end[0]
    return tokenizer


@pytest.mark.parametrize("name", sorted(set(prompt_format.CHAT_TEMPLATES) - FITTING))
def test_a_template_that_does_not_fit_is_rejected(name: str, prepare_with_template: Any) -> None:
    with pytest.raises(UserError) as caught:
        prepare_with_template(name)
    assert caught.value.code in ("template_unfit", "eos_missing", "markers_missing")
    assert caught.value.field == "dataset.chat_template"


@pytest.mark.parametrize("name", sorted(prompt_format.CHAT_TEMPLATES))
def test_a_template_that_fits_masks_correctly(name: str, prepare_with_template: Any, tokenizer: Any) -> None:
    prepared = prepare_with_template(name, None if name in FITTING else with_tokens_of(name, tokenizer))
    template = prepared.method.tokenizer
    text = prepared.train["text"][0]
    ids = prompt_format.encode(template, text)
    mask = mask_markers.train_on_responses_only(
        None, instruction_part=prepared.method.instruction_part, response_part=prepared.method.response_part,
        tokenizer=template, return_function=True,
    )  # fmt: skip
    labels = mask({"input_ids": [ids]})["labels"][0]
    learned = template.decode([label for label in labels if label != mask_markers.MASKED])
    asked = template.decode(
        [token for token, label in zip(ids, labels, strict=True) if label == mask_markers.MASKED]
    )
    for turn in TURNS:
        where, elsewhere = (learned, asked) if turn["role"] == "assistant" else (asked, learned)
        assert turn["content"] in where
        assert turn["content"] not in elsewhere
    kept = [label for label in labels if label != mask_markers.MASKED]
    assert template.eos_token_id in kept[-3:]
    assert prepared.method.lacking({"messages": TURNS}, MESSAGES, text, template.decode(ids)) == []


CODE = """```python
print(f"{x!r}\\n")  # 你好，世界！ ﬁ ² Å
```

| a | b |
|---|---|
<b>&amp; 'q'</b>\t1,000.50 €"""


@pytest.mark.parametrize("name", sorted(prompt_format.CHAT_TEMPLATES))
def test_the_check_of_rows_gives_no_false_alarm_on_the_notebooks_templates(name: str, tokenizer: Any) -> None:
    """Code, quotes, scripts and white space; a system text, or none where the template refuses it."""
    turns = [{"role": "user", "content": f" {CODE}\n"}, {"role": "assistant", "content": f"\n{CODE} "}] * 3
    with_system = [{"role": "system", "content": 'Be brief.\n\n- "kind"'}, *turns]
    own = with_tokens_of(name, tokenizer)
    for rows in (turns, with_system):
        try:
            text = prompt_format.render(own, rows)
        except UserError:
            continue
        found = check_row({"messages": rows}, MESSAGES, text, own.decode(prompt_format.encode(own, text)))
        assert [one.part for one in found if one.part not in ("system",)] == []


@pytest.mark.parametrize("answers", [1, 3])
def test_separate_evaluation_data(answers: int, spec_of: Any, tokenizer: Any, tmp_path: Path) -> None:
    rows = json.dumps([{"question": "q", "answer": "a"}] * answers)
    case = Case(
        "eval", "train.json", lambda folder: [(folder / n).write_text(rows) for n in ("train.json", "e.json")]
    )
    spec = with_changes(
        spec_of(case), dataset={"eval_path": str(tmp_path / "case/e.json"), "eval_split": "train[:1]"}
    )
    prepared = prepare.prepare(spec, tokenizer, [2], EventWriter(tmp_path / "events.jsonl"))
    assert prepared.held_out
    assert (len(prepared.train), len(prepared.held_out)) == (answers, 1)


def test_a_sample_is_drawn_by_its_seed(spec_of: Any, tokenizer: Any, tmp_path: Path) -> None:
    rows = json.dumps([{"question": "q", "answer": str(n)} for n in range(200)])
    spec = spec_of(Case("sample", "d.json", lambda folder: (folder / "d.json").write_text(rows)))

    def drawn(seed: int) -> list[str]:
        one = with_changes(spec, dataset={"sample_rows": 20, "sample_seed": seed})
        return list(prepare.prepare(one, tokenizer, [2], EventWriter(tmp_path / "e.jsonl")).train["text"])

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(set(drawn(1))) == 20


def test_large_files_are_cached_on_disk_and_read_again_when_they_change(
    spec_of: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_rows, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    path = tmp_path / "case/d.jsonl"
    spec = spec_of(Case("large", "d.jsonl", lambda folder: None))
    for answers in (["a", "b"], ["c", "d", "e"]):
        path.write_text("".join(json.dumps({"question": "q", "answer": answer}) + "\n" for answer in answers))
        prepared = prepare.prepare(spec, tokenizer, [2], EventWriter(tmp_path / "e.jsonl"))
        assert [text[-5:-4] for text in prepared.train["text"]] == answers
    path.write_text('{"question": "q", "answer": "a"}\n{')
    with pytest.raises(UserError, match="Line 2 is not valid JSON"):
        prepare.prepare(spec, tokenizer, [2], EventWriter(tmp_path / "e.jsonl"))


def test_a_constant_instruction_is_used_in_the_chat_too(spec_of: Any, demo: RunSpec) -> None:
    columns = {"instruction_column": "= Answer.", "input_column": "q", "output_column": "a"}
    spec = with_changes(demo, dataset=columns)
    prompt = prompt_format.prompt_format_for(spec.dataset, "alpaca").prompt(
        None, [{"role": "user", "content": "Who?"}]
    )
    assert "### Instruction:\nAnswer.\n\n### Input:\nWho?" in prompt
