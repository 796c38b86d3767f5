"""Any mix of known shapes with any damage gives a report that accounts for every row, column and turn."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest

from engine.config.run_spec import RunSpec
from engine.dataset.columns import is_empty
from engine.dataset.detection import detect
from engine.dataset.mapping import Mapping
from engine.dataset.turns import parse_json
from engine.messages.errors import UserError
from engine.proof.prove import prove
from engine.proof.tokenizers import TokenizerCache
from engine.protocol.data_report import DataReport
from tests.helpers.engine_process import with_changes
from tests.helpers.proof_datasets import fixed

Row = dict[str, Any]
SEEDS = range(40)


def chat(*turns: tuple[str, str]) -> list[Row]:
    return [{"role": role, "content": content} for role, content in turns]


SHAPES: dict[str, Callable[[int], Row]] = {
    "alpaca": lambda n: {"instruction": f"Add {n}.", "input": "", "output": f"{n}"},
    "question and answer": lambda n: {"question": f"{n}?", "answer": f"It is {n}.", "id": n},
    "prompt and response": lambda n: {"prompt": f"{n}?", "response": f"It is {n}."},
    "messages": lambda n: {"messages": chat(("user", f"{n}?"), ("assistant", f"{n}!"))},
    "several turns": lambda n: {
        "messages": chat(("user", f"{n}?"), ("assistant", f"{n}!"), ("user", "And?"), ("assistant", "No."))
    },
    "sharegpt": lambda n: {
        "conversations": [{"from": "human", "value": f"{n}?"}, {"from": "gpt", "value": f"{n}!"}]
    },
    "gemini": lambda n: {
        "contents": [
            {"role": "user", "parts": [{"text": f"{n}?"}]},
            {"role": "model", "parts": [{"text": f"{n}!"}]},
        ]
    },
    "chat as JSON": lambda n: {"messages": json.dumps(chat(("user", f"{n}?"), ("assistant", f"{n}!")))},
    "text": lambda n: {"text": f"Once there were {n}.", "url": f"u/{n}"},
}


def last_text(row: Row) -> str:
    """The column that most likely has the answer, or the turns."""
    return list(row)[min(1, len(row) - 1)]


def with_turn(row: Row, change: Callable[[list[Any]], object]) -> Row:
    """A row whose turns are changed in place, if it has any."""
    for value in row.values():
        if isinstance(value, list) and value:
            change(value)
    return row


DEEP: Any = "x"
for _ in range(150):
    DEEP = [DEEP]

# What is left of a row: an object, or the text of its line.
DAMAGES: dict[str, Callable[[Row], Row | str]] = {
    "an empty answer": lambda row: row | {last_text(row): ""},
    "a null": lambda row: row | {last_text(row): None},
    "a missing column": lambda row: {key: value for key, value in row.items() if key != last_text(row)},
    "another column": lambda row: row | {"score": 0.5, "tags": ["a", "b"]},
    "a number": lambda row: row | {last_text(row): 5},
    "a list": lambda row: row | {last_text(row): ["a", 1]},
    "an object": lambda row: row | {last_text(row): {"a": 1}},
    "a broken line": lambda row: json.dumps(row)[:-3],
    "no object": lambda row: "5",
    "a text": lambda row: '"text"',
    "an empty object": lambda row: {},
    "a blank line": lambda row: " ",
    "another schema": lambda row: {"a": "x", "b": 1, "c": [2]},
    "deep nesting": lambda row: row | {"deep": DEEP},
    "spaces": lambda row: row | {last_text(row): " \n\t"},
    "markers": lambda row: row | {last_text(row): "<|user|></s> ### Response:"},
    "a question at the end": lambda row: with_turn(row, lambda turns: turns.append(dict(turns[0]))),
    "no answer": lambda row: with_turn(row, lambda turns: turns.pop()),
    "an unknown role": lambda row: with_turn(row, lambda turns: turns[-1].update(role="Alice")),
    "a masked turn": lambda row: with_turn(row, lambda turns: turns[-1].update(weight=0)),
    "half a turn": lambda row: with_turn(row, lambda turns: turns.append({"role": "user"})),
    "keys of turns": lambda row: with_turn(row, lambda turns: turns[0].update(id=1, score=None)),
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizers() -> TokenizerCache:
    return TokenizerCache()


def dataset(seed: int) -> list[Row | str]:
    """Rows of one shape, or of two, some of them damaged in one to three ways, and some twice."""
    draw = random.Random(seed)
    shapes = draw.sample(list(SHAPES), draw.choice((1, 1, 1, 2)))
    damages = draw.sample(list(DAMAGES), draw.randint(1, 3))
    rows: list[Row | str] = []
    for number in range(draw.randint(3, 30)):
        row: Row | str = SHAPES[draw.choices(shapes, (9, 1)[: len(shapes)])[0]](number // draw.choice((1, 1, 1, 2)))
        if draw.random() < 0.3 and isinstance(row, dict):
            row = DAMAGES[draw.choice(damages)](row)
        rows.append(row)
    return rows


def check_accounts(report: DataReport, rows: list[Row | str], mapping: Mapping) -> None:
    """Every row, column and turn is learned, masked, or left out with a reason."""
    lines = [row for row in rows if isinstance(row, dict) or row.strip()]
    assert report.rows == report.rows_total == len(lines)
    assert sum(count for _, count in report.lengths) + report.empty_rows + report.bad_rows == len(lines)
    codes = {problem.code for problem in report.problems}
    assert not report.empty_rows or codes & {"rows_empty", "dataset_empty"}
    assert not report.bad_rows or codes & {"rows_bad", "rows_dropped", "dataset_empty"}
    assert report.learned_tokens or report.stops  # a set with no usable row is never good to train
    readable = [row for row in lines if isinstance(row, dict) and "deep" not in row]
    filled = {name for row in readable for name, value in row.items() if not is_empty(value)}
    unused = {one.name for one in report.unused if one.kind == "column"}
    assert not unused & mapping.columns
    assert filled <= unused | mapping.columns
    values = [parse_json(row.get(name)) for row in readable for name in mapping.turns]
    turns = sum(len(value) for value in values if isinstance(value, list))
    assert report.turns.learned + report.turns.masked + report.turns.dropped == turns


@pytest.mark.parametrize("seed", SEEDS)
def test_a_report_accounts_for_every_row_column_and_turn(
    seed: int, demo: RunSpec, tokenizers: TokenizerCache, tmp_path: Path
) -> None:
    rows = dataset(seed)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    spec = with_changes(demo, dataset={"path": str(path)}, model={"max_seq_length": 1024})

    def report_of(spec: RunSpec) -> DataReport | UserError:
        try:
            return prove(spec, tokenizers, lambda progress: None, lambda: False, None)
        except UserError as refused:
            return refused

    report = report_of(spec)
    if isinstance(report, UserError):
        assert str(report.message)
        assert report.field
        return
    readable = [row for row in rows if isinstance(row, dict) and "deep" not in row][:100]
    if not {stop.code for stop in report.stops} & {"format_unknown", "mixed_formats"} and report.rows:
        check_accounts(report, rows, detect(readable, spec.dataset).mapping)
    for fix in (fix for problem in report.problems for fix in problem.fixes):
        again = report_of(fixed(spec, fix.changes))
        assert isinstance(again, DataReport)
        if not again.stops:
            assert 2 * sum(count for _, count in again.lengths) > again.rows


def test_there_are_enough_damages() -> None:
    assert len(DAMAGES) >= 20
