"""Format detection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.run_spec import DatasetSpec
from engine.dataset.detection import detect
from engine.dataset.peek import check_dataset, peek
from tests.helpers.dataset_cases import BAD, BOT, GOOD, PREFERENCE, QA, USER, Case


@pytest.mark.parametrize(
    "rows",
    [
        [QA], [{"instruction": "a", "output": "b"}], [{"x": "a", "y": "b"}], [PREFERENCE],
        [{"prompt": [USER], "chosen": [BOT], "rejected": [BOT]}],
        [{"chosen": [USER, BOT], "rejected": [USER, BOT]}],
        [{"question": "q", "answer": "a", "log": [USER, BOT]}], [{"a": "x", "b": "y", "c": "z"}],
    ],
)  # fmt: skip
def test_every_alternative_is_usable(rows: list[dict[str, Any]]) -> None:
    found = detect(rows, DatasetSpec())
    assert found.alternatives
    for other in found.alternatives:
        chosen = detect(rows, DatasetSpec(**other.settings))
        assert chosen.problem is None, other.settings
        assert chosen.mapping.example(rows[0])
        assert chosen.mapping != found.mapping or "written_with" in other.settings


@pytest.mark.parametrize("case", [*GOOD, *(case for case in BAD if not case.late)], ids=lambda case: case.name)
def test_dataset_cases_without_an_engine(case: Case, tmp_path: Path) -> None:
    """Fast, without torch: tests/training/test_dataset_cases.py runs the same cases with the engine."""
    if "save_to_disk" in case.name or "split in a folder" in case.name:
        pytest.importorskip("datasets")
    case.write(tmp_path)
    values = {key: value for key, value in case.settings.items() if key != "mix"}
    mix = tuple(line.replace("./", f"{tmp_path}/") for line in case.settings.get("mix", ()))
    if "eval_path" in values:
        values["eval_path"] = str(tmp_path / values["eval_path"])
    data = DatasetSpec(**values, path=str(tmp_path / case.path), mix=mix)
    errors = check_dataset(data)
    preview = peek(data.path, data=data)
    if case.error[0]:
        assert [error.field for error in errors] == [case.error[0]]
        assert case.error[1] in str(errors[0].message)
    else:
        assert errors == []
        assert preview.format == case.kind
        assert preview.detected
        for role, filler in case.mapping.items():
            assert getattr(preview.detected.mapping, role) == filler


MESSY = [{"prompt": f"{n}?", "response": f"{n}!"} for n in range(39)]


@pytest.mark.parametrize("place", [0, 20, 39])
@pytest.mark.parametrize("table", [False, True], ids=["own keys", "a table's empty cells"])
@pytest.mark.parametrize(
    "stray",
    [QA, {"question": "q"}, {"instruction": "q", "output": "a"}, {"messages": [USER, BOT]}, {"context": "c"},
     {"chosen": "c", "rejected": "r"}, {"text": "Once."}],
    ids=lambda row: "+".join(row),
)  # fmt: skip
def test_roles_are_paired_only_from_columns_that_occur_together(
    stray: dict[str, Any], table: bool, place: int
) -> None:
    """A stray question/answer row made question -> response of 39 rows with prompt and response."""
    rows: list[dict[str, Any]] = [*MESSY]
    rows.insert(place, stray)
    if table:
        names = dict.fromkeys(name for row in rows for name in row)
        rows = [{name: row.get(name) for name in names} for row in rows]
    found = detect(rows, DatasetSpec())
    assert (found.kind, found.mapping.instruction, found.mapping.output) == ("alpaca", "prompt", "response")
    assert found.mapping.input == ("context" if table and "context" in stray else "")
    assert found.problem is None


def test_columns_that_never_occur_together_are_no_pair() -> None:
    found = detect([*({"prompt": "q"} for _ in range(9)), {"answer": "a"}], DatasetSpec())
    assert found.problem


def test_an_instruction_that_is_often_empty_is_still_the_question() -> None:
    rows = [{"instruction": "" if n % 3 else "Add.", "input": "1, 2", "output": "3"} for n in range(30)]
    mapping = detect(rows, DatasetSpec()).mapping
    assert (mapping.instruction, mapping.input, mapping.output) == ("instruction", "input", "output")


def test_data_without_a_usable_row_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text("".join(json.dumps({"messages": "hi"}) + "\n" for _ in range(9)))
    data = DatasetSpec(path=str(tmp_path / "d.jsonl"), drop_bad_rows=True, format="messages")
    assert [error.field for error in check_dataset(data)] == ["dataset.messages_column"]
