"""Format detection."""

from __future__ import annotations

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
