"""The files that rewards name are checked before anything is loaded, and nothing of the user's is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.config.check import build_spec
from engine.config.local_paths import absolute_paths
from engine.config.rewards import Json, RewardModel
from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec
from engine.preflight.rewards import check_rewards, unconfirmed_rewards
from engine.runs.consent import allow_rewards

pytestmark = pytest.mark.usefixtures("home")


def spec_with(*rewards: object, file: str = "") -> RunSpec:
    grpo: dict[str, Any] = {"rewards": list(rewards), "rewards_file": file}
    spec, errors = build_spec({"training": {"method": "grpo"}, "grpo": grpo})
    assert spec, errors
    return spec


def errors_of(spec: RunSpec) -> list[tuple[str, str]]:
    return [(error.field, str(error.message)) for error in check_rewards(spec)]


def test_missing_and_wrong_files_are_errors_at_their_entry(tmp_path: Path) -> None:
    (tmp_path / "no.json").write_text('{"minimum": 1}')
    (tmp_path / "torn.json").write_text("{")
    schema = {"check": "json", "schema_file": str(tmp_path / "gone.json")}
    assert errors_of(spec_with("answer", schema)) == [
        ("grpo.rewards", f"#2 json: there is no file {tmp_path}/gone.json.")
    ]
    ((field, said),) = errors_of(spec_with({"check": "json", "schema_file": str(tmp_path / "no.json")}))
    assert (field, "uses minimum" in said) == ("grpo.rewards", True)
    ((field, said),) = errors_of(spec_with({"check": "json", "schema_file": str(tmp_path / "torn.json")}))
    assert (field, "is not valid JSON" in said) == ("grpo.rewards", True)
    model = {"check": "reward_model", "path": str(tmp_path)}
    assert errors_of(spec_with(model)) == [
        ("grpo.rewards", f"#1 reward_model: there is no trained reward model in {tmp_path}.")
    ]


def test_the_users_file_is_read_and_not_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    missing = [("grpo.rewards_file", f"There is no file {file}.")]
    assert errors_of(spec_with(file=str(file))) == missing
    file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef f(completion): return 1\n")
    assert errors_of(spec_with(file=str(file))) == []
    unknown = spec_with({"check": "python", "function": "g"}, file=str(file))
    assert errors_of(unknown) == [("grpo.rewards", "#1 python: the file has no function g; it has: f.")]
    assert not (tmp_path / "ran").exists()


def test_a_changed_file_is_unconfirmed_again(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    spec = spec_with(file=str(file))
    assert unconfirmed_rewards(spec) is None  # there is nothing to confirm
    file.write_text("def f(completion): return 1\n")
    assert unconfirmed_rewards(spec) == file.read_bytes()
    allow_rewards(file.read_bytes())
    assert unconfirmed_rewards(spec) is None
    file.write_text("def f(completion): return 2\n")
    assert unconfirmed_rewards(spec)
    sft = msgspec.structs.replace(spec, training=msgspec.structs.replace(spec.training, method="sft"))
    assert unconfirmed_rewards(sft) is None


def test_paths_are_relative_to_the_spec(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(
        "training: {method: grpo}\n"
        "grpo:\n  rewards_file: ./mine.py\n  rewards:\n    - answer\n"
        "    - {check: json, schema_file: ./a.json}\n    - {check: reward_model, path: ../judge}\n"
    )
    spec = load_spec(tmp_path / "spec.yaml")
    assert spec.grpo.rewards_file == str(tmp_path / "mine.py")
    assert spec.grpo.rewards == (
        "answer",
        Json(schema_file=str(tmp_path / "a.json")),
        RewardModel(path=str(tmp_path.parent / "judge")),
    )
    assert absolute_paths(spec) == spec
