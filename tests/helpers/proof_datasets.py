"""Small datasets of every format, their data proof, and their rows in the trainer."""

from __future__ import annotations

from typing import Any

# isort: off
import unsloth  # noqa: F401  first, for it patches the others
# isort: on


from engine.config.check import build_spec
from engine.config.run_spec import RunSpec
from engine.config.spec_files import to_values
from engine.proof.prove import prove
from engine.proof.tokenizers import TokenizerCache
from engine.protocol.data_report import DataReport
from engine.training import check_labels

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


def proof(spec: RunSpec, max_rows: int | None = None) -> DataReport:
    return prove(spec, TokenizerCache(), lambda progress: None, lambda: False, max_rows)


def trained_rows(trainer: Any) -> list[list[tuple[int, bool]]]:
    """(token, learned) of every row of the trainer's dataset."""
    rows = trainer.train_dataset
    labels = rows["labels"] if "labels" in rows.column_names else rows["input_ids"]
    return [
        [(token, label != check_labels.MASKED) for token, label in zip(ids, marks, strict=True)]
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
    found, errors = build_spec(values)
    assert found, errors
    return found
