"""Relative paths in specs."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.local_paths import absolute_paths
from engine.config.run_spec import DatasetSpec, RunSpec
from engine.config.spec_files import load_spec


def test_paths_in_a_spec_are_relative_to_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spec.yaml").write_text(
        "dataset:\n  path: ./a.jsonl\n  mix:\n    - ./b.jsonl, weight=2\n    - owner/name\n  eval_path: ../c.json\n"
    )
    data = load_spec(tmp_path / "spec.yaml").dataset
    assert data.path == str(tmp_path / "a.jsonl")
    assert data.mix == (f"{tmp_path}/b.jsonl, weight=2", "owner/name")
    assert data.eval_path == str(tmp_path.parent / "c.json")
    monkeypatch.chdir(tmp_path)
    spec = absolute_paths(RunSpec(dataset=DatasetSpec(path="a.jsonl", mix=("b.csv, split=train[:5]",))))
    assert spec.dataset.mix == (f"{tmp_path}/b.csv, split=train[:5]",)
