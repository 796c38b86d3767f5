"""`loris chat` with a reward model: what its options must be, before any engine is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tui.cli.main import main


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"task_type": "SEQ_CLS"}))
    return folder


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ([], "--answer"),
        (["--prompt", "Who?"], "--answer"),
        (["--answer", "Me."], "--prompt"),
    ],
)
def test_a_reward_model_needs_a_prompt_and_an_answer(
    options: list[str], field: str, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", str(adapter), *options]) == 2
    assert capsys.readouterr().err == f"{field}: A reward model scores answers: give --prompt and --answer.\n"


def test_a_model_that_writes_takes_no_answer(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (adapter / "adapter_config.json").write_text(json.dumps({"task_type": "CAUSAL_LM"}))
    assert main(["chat", str(adapter), "--prompt", "Who?", "--answer", "Me."]) == 2
    assert "only a reward model scores" in capsys.readouterr().err
