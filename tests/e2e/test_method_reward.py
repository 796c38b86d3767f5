"""Reward models: the same losses and scores as TRL's own, what they learn, and what they are asked and refused."""

from __future__ import annotations

import json
import random
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from engine.config.presets import find_preset
from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from engine.protocol import commands as co
from engine.protocol import events as ev
from engine.protocol.state import RunState, read_state
from engine.runs.folder import RunFolder
from tests.helpers.engine_process import ROOT, Client, Engine, with_changes
from tests.helpers.script_process import json_lines, outputs, start
from tests.helpers.short_run import run_to_end
from tui.cli.main import main

STEPS, HELD_OUT = 20, 40
MARGIN = 10  # of the held-out pairs, by which the true data must beat the shuffled


def preset() -> RunSpec:
    found = find_preset("demo-reward")
    assert found
    assert found.spec, found.error
    return found.spec


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def swapped_at_random(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    rng = random.Random(3407)
    sides = [("chosen", "rejected"), ("rejected", "chosen")]
    return [
        {"prompt": row["prompt"], "chosen": row[one], "rejected": row[other]}
        for row in rows
        for one, other in [rng.choice(sides)]
    ]


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunSpec]:
    """The demo with its true pairs, and with pairs that are swapped at random. The held-out pairs are true."""
    place = tmp_path_factory.mktemp("pairs")
    rows = [json.loads(line) for line in (ROOT / "presets/demo/judge.jsonl").read_text().splitlines()]
    train, held_out = rows[HELD_OUT:], rows[:HELD_OUT]
    write_rows(place / "true.jsonl", train)
    write_rows(place / "shuffled.jsonl", swapped_at_random(train))
    write_rows(place / "held_out.jsonl", held_out)
    return {
        name: with_changes(
            preset(),
            model={"dtype": "float32"},
            dataset={
                "path": str(place / f"{name}.jsonl"), "eval_path": str(place / "held_out.jsonl"), "test_size": 0.0,
            },
            training={
                "max_steps": STEPS, "save_steps": 10, "eval_steps": STEPS, "logging_steps": 1,
                "learning_rate": 3e-3, "dataset_num_proc": 1,
            },
            lora={"use_gradient_checkpointing": False},
        )
        for name in ("true", "shuffled")
    }  # fmt: skip


@pytest.fixture(scope="module")
def runs(specs: dict[str, RunSpec], tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    place = tmp_path_factory.mktemp("reward")
    found = {name: RunFolder(place / name) for name in specs}
    for name, folder in found.items():
        folder.path.mkdir()
        save_spec(folder.spec, specs[name])
    return found


@pytest.fixture(scope="module")
def plain(runs: dict[str, RunFolder]) -> list[dict[str, float]]:
    """What TRL's own script logs for the true pairs; Loris trains both runs meanwhile."""
    place = runs["true"].path.parent
    loris = start("train_with_loris.py", place, [folder.path for folder in runs.values()])
    script = start("train_reward_without_loris.py", place, [runs["true"].spec])
    (found,) = json_lines(outputs(loris, script)[1])
    assert isinstance(found, list)
    return found


@pytest.fixture(scope="module")
def states(runs: dict[str, RunFolder], plain: list[dict[str, float]]) -> dict[str, RunState]:
    return {name: read_state(folder.events) for name, folder in runs.items()}


@pytest.mark.slow
def test_losses_and_metrics_equal_those_of_trl(runs: dict[str, RunFolder], plain: list[dict[str, float]]) -> None:
    lines = runs["true"].events.read_bytes().splitlines()
    steps = [event for line in lines if isinstance(event := ev.decode(line), ev.Step)]
    assert len(steps) == len(plain) == STEPS
    for mine, theirs in zip(steps, plain, strict=True):
        assert {"loss": mine.loss, **(mine.metrics or {})} == pytest.approx(theirs, abs=1e-5)


def told_apart(state: RunState) -> dict[str, Any]:
    (notice,) = [one for one in state.notices if one.code == "pairs_told_apart"]
    return dict(notice.message.values)


@pytest.mark.slow
def test_it_tells_held_out_pairs_apart_unless_they_are_shuffled(states: dict[str, RunState]) -> None:
    true, shuffled = told_apart(states["true"]), told_apart(states["shuffled"])
    assert true["count"] == HELD_OUT
    assert true["after"] >= 0.8 * HELD_OUT
    assert true["after"] >= true["before"] + MARGIN
    assert true["after"] >= shuffled["after"] + MARGIN
    assert states["true"].eval_metrics["accuracy"] == pytest.approx(true["after"] / HELD_OUT)


@pytest.fixture(scope="module")
def served(runs: dict[str, RunFolder], plain: list[dict[str, float]]) -> Iterator[Client]:
    engine = Engine(runs["true"].path, None, "--serve")
    try:
        engine.wait_for(lambda: engine.events_of(ev.StageChanged)[-1].stage == "serving")
        client = Client(engine.folder)
        yield client
        client.close()
    finally:
        engine.kill()


@pytest.mark.slow
def test_a_served_run_scores_answers(served: Client) -> None:
    answers = ("The capital of France is Paris.", "法国的首都是巴黎。")
    done = served.ask(co.Score, prompt="What is the capital of France?", answers=answers)
    assert isinstance(done, co.Done)
    good, bad = done.scores
    assert good > bad + 1
    again = served.ask(co.Score, prompt="What is the capital of France?", answers=answers[:1])
    assert isinstance(again, co.Done)
    assert again.scores == (good,)
    swapped = served.ask(co.Score, prompt="法国的首都是哪里？", answers=answers)
    assert isinstance(swapped, co.Done)
    assert swapped.scores[1] > swapped.scores[0] + 1


@pytest.mark.slow
def test_a_served_run_refuses_what_it_cannot_do(served: Client) -> None:
    _, refused = served.chat("Who are you?", adapter=True)
    assert isinstance(refused, co.Refused)
    assert refused.code == "not_a_writer"
    refused = served.ask(co.Export, kind="gguf", quantizations=("q8_0",))
    assert isinstance(refused, co.Refused)
    assert refused.code == "reward_model"
    assert "score head" in str(refused.message)
    refused = served.ask(co.Score, prompt="Who?", answers=("word " * 400,))
    assert isinstance(refused, co.Refused)
    assert refused.code == "prompt_too_long"


@pytest.mark.slow
def test_an_exported_adapter_is_loaded_back_and_compared(served: Client, tmp_path: Path) -> None:
    done = served.ask(co.Export, kind="adapter", path=str(tmp_path / "adapter"))
    assert isinstance(done, co.Done)
    assert (tmp_path / "adapter/adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_a_merged_model_is_loaded_back_and_its_scores_compared(served: Client, tmp_path: Path) -> None:
    done = served.ask(co.Export, kind="merged_16bit", path=str(tmp_path / "merged"))
    assert isinstance(done, co.Done)
    config = json.loads((tmp_path / "merged/config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert "score.weight" in load_file(tmp_path / "merged/model.safetensors")


@pytest.mark.slow
def test_killed_and_resumed_with_the_same_weights(
    specs: dict[str, RunSpec], runs: dict[str, RunFolder], plain: list[dict[str, float]], tmp_path: Path
) -> None:
    killed = run_to_end(tmp_path / "run", specs["true"], "--exit", LORIS_FAULT="kill@13")
    assert killed.process.returncode == -signal.SIGKILL
    later = run_to_end(tmp_path / "run", None, "--resume", "--exit")
    assert later.finish() == 0
    assert later.events_of(ev.Resumed)[0].step == 10
    one, two = (
        load_file(path / "adapter_model.safetensors") for path in (runs["true"].adapter, later.folder.adapter)
    )
    assert one.keys() == two.keys()
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-6
    again = {step.step: {"loss": step.loss, **step.metrics} for step in later.events_of(ev.Step)}
    assert [again[number] for number in sorted(again)] == [pytest.approx(step, abs=1e-6) for step in plain]


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "packing": ({"training": {"packing": True}}, "training.packing", "does not pack rows"),
    "full": ({"model": {"full_finetuning": True, "load_in_4bit": False}}, "model.full_finetuning", "an adapter"),
    "gguf": ({"export": {"gguf": ["q8_0"]}}, "export.gguf", "no score head"),
    "new tokens": ({"model": {"new_tokens": ["<x>"]}}, "model.new_tokens", "cannot learn new tokens"),
    "checkpoint prompts": (
        {"generation": {"prompts_at_checkpoints": True}}, "generation.prompts_at_checkpoints", "writes no answers",
    ),
    "neftune": ({"training": {"neftune_noise_alpha": 5}}, "training.neftune_noise_alpha", "set it to 0"),
    "last answer": ({"dataset": {"last_answer_only": True}}, "dataset.last_answer_only", "turn this off"),
    "centre": (
        {"reward": {"center_rewards_coefficient": -1}}, "reward.center_rewards_coefficient", "Give a number",
    ),
    "foreign": ({"dpo": {"beta": 0.2}}, "dpo", "reward"),
    "typo": ({"reward": {"center_reward": 0.1}}, "reward.center_reward", "Did you mean"),
    "no pairs": ({"dataset": {"path": "./alpaca.jsonl"}}, "dataset.format", "rejected answers"),
    "no such column": ({"dataset": {"rejected_column": "worse"}}, "dataset.rejected_column", "worse"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_input_ends_in_one_sentence_at_its_field(
    name: str, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, field, sentence = WRONG[name]
    write_rows(tmp_path / "alpaca.jsonl", [{"instruction": "Who?", "output": "Me."}] * 3)
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": "Who?", "chosen": "Loris.", "rejected": "No."}] * 3)
    spec: dict[str, dict[str, Any]] = {
        "model": {"model_name": str(ROOT / "presets/demo/model")},
        "dataset": {"path": "./pairs.jsonl"},
        "training": {"method": "reward", "max_steps": 2},
    }
    for section, values in changes.items():
        spec[section] = {**spec.get(section, {}), **values}
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    assert main(["run", str(tmp_path / "spec.yaml")]) == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if re.search(rf":\d+: {field}", one)]
    assert sentence in line
