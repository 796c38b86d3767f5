"""Settings that people bring along: accepted, and a word where they cannot work together."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config.check import build_spec

BEST = {"load_best_model_at_end": True, "save_steps": 40, "eval_steps": 20}
HELD_OUT = {"dataset": {"test_size": 0.1}}


def fields_with_errors(values: dict[str, dict[str, Any]]) -> list[str]:
    return [error.field for error in build_spec(values)[1]]


def test_settings_people_bring_along_work():
    training = {
        **BEST, "warmup_ratio": 0.03, "max_grad_norm": 0.3, "train_sampling_strategy": "group_by_length",
        "neftune_noise_alpha": 5, "per_device_eval_batch_size": 1, "eval_accumulation_steps": 4,
        "early_stopping_patience": 3, "early_stopping_threshold": 0.01, "num_train_epochs": 3,
        "lr_scheduler_type": "cosine_with_restarts", "optim": "lion_8bit",
    }  # fmt: skip
    lora = {"target_modules": "all-linear", "modules_to_save": ["embed_tokens", "lm_head"], "loftq_config": {}}
    model = {"model_name": "a/b", "load_in_8bit": True}
    spec, errors = build_spec({"training": training, "lora": lora, "model": model, **HELD_OUT})
    assert errors == []
    assert spec is not None
    assert spec.lora.target_modules == ("all-linear",)
    assert (
        build_spec({"training": {**BEST, "save_strategy": "epoch", "eval_strategy": "epoch"}, **HELD_OUT})[1] == []
    )
    assert build_spec({"lora": {"target_modules": ["qkv_proj", "out_proj"]}})[1] == []


@pytest.mark.parametrize(("key", "name"), [("optim", "adamw_8bits"), ("lr_scheduler_type", "cosin")])
def test_unknown_optimizers_and_schedules_are_named(key: str, name: str):
    _, [error] = build_spec({"training": {key: name}})
    assert f'"{name}" is not one of' in str(error.message)
    assert "Did you mean" in str(error.message)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"training": {"optim": "galore_adamw"}}, "training.optim"),
        ({"training": {"optim": "adamw_torch_xla"}}, "training.optim"),
        ({"training": {"lr_scheduler_type": "reduce_lr_on_plateau"}}, "training.lr_scheduler_type"),
        ({"training": {"early_stopping_patience": 2}}, "training.early_stopping_patience"),
        ({"training": BEST}, "training.load_best_model_at_end"),
        ({"training": {**BEST, "save_steps": 50}, **HELD_OUT}, "training.eval_steps"),
        ({"training": {**BEST, "save_steps": 0}, **HELD_OUT}, "training.load_best_model_at_end"),
        ({"training": {**BEST, "save_total_limit": 1}, **HELD_OUT}, "training.save_total_limit"),
        ({"training": {**BEST, "save_strategy": "epoch"}, **HELD_OUT}, "training.load_best_model_at_end"),
        ({"lora": {"target_modules": ["all-linear", "q_proj"]}}, "lora.target_modules"),
        ({"lora": {"modules_to_save": ["q_proj"]}}, "lora.modules_to_save"),
        ({"lora": {"modules_to_save": ["lm_head"], "target_modules": ["lm_head"]}}, "lora.modules_to_save"),
        ({"lora": {"loftq_config": {"loftq_bits": 4}}}, "lora.loftq_config"),
        ({"model": {"load_in_8bit": True, "model_name": "a/b-bnb-4bit"}}, "model.load_in_8bit"),
    ],
)  # fmt: skip
def test_what_cannot_work_together_has_a_word(values: dict[str, dict[str, Any]], field: str):
    assert fields_with_errors(values) == [field]


def test_a_setting_with_another_name_today_is_named():
    _, [error] = build_spec({"training": {"group_by_length": True}})
    assert "write train_sampling_strategy: group_by_length" in str(error.message)
