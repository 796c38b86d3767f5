"""Small datasets of every format, their proof, and the trainer that the engine would train on them with."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

# isort: off
import unsloth  # noqa: F401  first, for it patches the others
# isort: on

import pytest
from trl import SFTTrainer

from engine import data, learned, model, train
from engine.proof.proof import prove
from engine.proof.tokenizers import Tokenizers
from engine.record import EventWriter
from engine.spec.check import build
from engine.spec.files import to_values
from engine.spec.folder import RunFolder
from engine.spec.report import DataReport
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
def trainer_for(
    demo: RunSpec, loaded: model.Loaded, record: EventWriter, tmp_path: Path
) -> Callable[[RunSpec], Any]:
    """The trainer that the engine would train with, its rows masked and looked at."""

    def make(spec: RunSpec) -> Any:
        if spec.model.model_name == demo.model.model_name:  # the engine's own tokenizer; named templates change it
            tokenizer, stops = deepcopy(loaded.tokenizer), model.stop_ids(loaded)
        else:
            tokenizer, stops = Tokenizers().get(spec.model)
        prepared, tokenizer = data.prepare(spec, tokenizer, stops, record)
        trainer = SFTTrainer(
            model=loaded.model, processing_class=tokenizer, train_dataset=prepared.train,
            args=train.arguments(loaded, spec, RunFolder(tmp_path), len(prepared.train), record),
        )  # fmt: skip
        if prepared.response_part:
            train.mask(trainer, prepared.instruction_part, prepared.response_part, spec)
        learned.look(trainer, prepared, spec, stops, record)
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


def fixed(spec: RunSpec, changes: dict[str, Any]) -> RunSpec:
    """The spec with the changes of a fix, as the terminal makes them."""
    values = to_values(spec)
    for path, value in changes.items():
        section, _, key = path.partition(".")
        values[section][key] = value
    found, errors = build(values)
    assert found, errors
    return found
