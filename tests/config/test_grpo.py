"""GRPO in the spec: what is refused, and what the lights say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from engine.config.methods.grpo import lights
from engine.config.methods.method import LIGHT_STEPS, Level
from tests.helpers.engine_process import ROOT
from tui.cli.main import main

WRONG: dict[str, tuple[dict[str, dict[str, object]], str]] = {
    "groups": ({"grpo": {"num_generations": 3}}, r"grpo.num_generations: .* 16: not a multiple of 3 answers"),
    "one answer": ({"grpo": {"num_generations": 1}}, r"grpo.num_generations: Give a whole number"),
    "length": ({"grpo": {"max_completion_length": 256}}, r"grpo.max_completion_length: .* no room is left"),
    "temperature": ({"grpo": {"temperature": 0}}, r"grpo.temperature: Give a number"),
    "luspo": ({"grpo": {"loss_type": "luspo"}}, r"grpo.importance_sampling_level: .* needs this: sequence"),
    "dr_grpo": ({"grpo": {"loss_type": "dr_grpo"}}, r"grpo.scale_rewards: .* set this to none"),
    "cispo": ({"grpo": {"loss_type": "cispo"}}, r"grpo.epsilon_high: .* 5 is usual"),
    "loss": ({"grpo": {"loss_type": "drgrpo"}}, r"grpo.loss_type: .*dr_grpo"),
    "no rewards": ({"grpo": {"rewards": []}}, r"grpo.rewards: Say what a good answer is"),
    "packing": ({"training": {"packing": True}}, r"training.packing: .* does not pack rows"),
    "full": ({"model": {"full_finetuning": True}}, r"model.full_finetuning: .* trains an adapter"),
    "other method": ({"dpo": {"beta": 0.2}}, r"dpo: .*grpo"),
    "early stopping": ({"training": {"early_stopping_patience": 2, "eval_steps": 5}}, r"patience: .* the reward"),
    "order": ({"training": {"train_sampling_strategy": "group_by_length"}}, r"strategy: .* random or sequential"),
    "pairs": ({"dataset": {"path": "./pairs.jsonl"}}, r"dataset.format: "),
    "texts": ({"dataset": {"path": "./texts.jsonl"}}, r"dataset.format: This is plain text"),
    "vllm": ({"grpo": {"use_vllm": True}}, r"grpo.use_vllm: vLLM is not installed"),
    "vllm on the processor": (
        {"grpo": {"use_vllm": True}, "model": {"use_cpu": True}}, r"grpo.use_vllm: vLLM needs a GPU",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_is_refused_at_its_field_with_exit_code_2(
    what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], home: Path
) -> None:
    changes, pattern = WRONG[what]
    for name, row in {
        "good": {"prompt": "Who are you?", "answer": "Loris."},
        "pairs": {"prompt": "Who are you?", "chosen": "Loris.", "rejected": "Nobody."},
        "texts": {"text": "Once upon a time."},
    }.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    values: dict[str, dict[str, object]] = {
        "model": {"model_name": str(ROOT / "presets/demo/model"), "max_seq_length": 256, "use_cpu": False},
        "dataset": {"path": "./good.jsonl", "test_size": 0},
        "training": {"method": "grpo", "per_device_train_batch_size": 16},
        "grpo": {"num_generations": 8, "max_completion_length": 32, "rewards": ["answer"]},
    }
    for section, fields in changes.items():
        values[section] = {**values.get(section, {}), **fields}
    path = tmp_path / "bad.yaml"
    path.write_text(json.dumps(values))  # JSON is YAML
    assert main(["run", str(path)]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert any(re.search(pattern, line) for line in lines), lines
    assert not list(home.glob("runs/*")), "no engine was started"


def level_of(metric: str, *steps: dict[str, float]) -> Level | None:
    return next((light.level for light in lights(steps) if light.metric == metric), None)


@pytest.mark.parametrize(
    ("metric", "values", "level"),
    [
        ("frac_reward_zero_std", [1.0] * 4, None),
        ("frac_reward_zero_std", [1.0] * 5, "bad"),
        ("frac_reward_zero_std", [0.0] * 5 + [1.0] * 5, "bad"),
        ("frac_reward_zero_std", [1.0] * 4 + [0.5], "doubtful"),
        ("frac_reward_zero_std", [0.0, 0.5, 0.5, 1.0, 0.0], "good"),
        ("completions/clipped_ratio", [1.0] * 5, "bad"),
        ("completions/clipped_ratio", [1.0, 0.9, 1.0, 1.0, 1.0], "doubtful"),
        ("completions/clipped_ratio", [0.1] * 5, "good"),
        ("completions/mean_length", [20, 25, 30, 40, 50], "doubtful"),
        ("completions/mean_length", [20, 50, 30, 40, 35], "good"),
        ("kl", [0.01] * 5, "good"),
        ("kl", [2.0] * 5, "doubtful"),
        ("kl", [20.0] * 5, "bad"),
    ],
)
def test_each_light_follows_its_rule(metric: str, values: list[float], level: Level | None) -> None:
    assert len(values) <= LIGHT_STEPS
    assert level_of(metric, *({metric: value} for value in values)) == level


def test_the_reward_is_doubtful_when_it_comes_down_by_more_than_its_spread() -> None:
    assert level_of("reward", *({"reward": 0.9 - 0.2 * n, "reward_std": 0.3} for n in range(5))) == "doubtful"
    assert level_of("reward", *({"reward": 0.9 - 0.02 * n, "reward_std": 0.3} for n in range(5))) == "good"


def test_answers_that_became_alike_because_the_reward_rose_are_no_fault() -> None:
    def steps(*rewards: float) -> list[dict[str, float]]:
        return [{"reward": one, "frac_reward_zero_std": float(one == 1)} for one in rewards]

    assert level_of("frac_reward_zero_std", *steps(0.4, 0.6, *[1] * 5)) == "doubtful"
    assert level_of("frac_reward_zero_std", *steps(*[1] * 10)) == "bad"
