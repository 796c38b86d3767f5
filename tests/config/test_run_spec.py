"""The run spec: the notebooks' defaults, and a clear error for every kind of wrong value."""

from __future__ import annotations

import msgspec
import pytest

from engine.config.check import build_spec, check_spec
from engine.config.fields import did_you_mean, field_info, parse_field, section_fields
from engine.config.run_spec import SECTIONS, DatasetSpec, RunSpec

# The settings of the notebooks: see ../shared/mission.md.
NOTEBOOK_DEFAULTS = {
    "model.max_seq_length": 2048,
    "model.dtype": "auto",
    "model.load_in_4bit": True,
    "lora.r": 16,
    "lora.target_modules": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "lora.lora_alpha": 16,
    "lora.lora_dropout": 0.0,
    "lora.bias": "none",
    "lora.use_gradient_checkpointing": "unsloth",
    "lora.random_state": 3407,
    "lora.use_rslora": False,
    "lora.loftq_config": None,
    "training.per_device_train_batch_size": 2,
    "training.gradient_accumulation_steps": 4,
    "training.warmup_steps": 5,
    "training.max_steps": 60,
    "training.learning_rate": 2e-4,
    "training.logging_steps": 1,
    "training.optim": "adamw_8bit",
    "training.weight_decay": 0.01,
    "training.lr_scheduler_type": "linear",
    "training.seed": 3407,
    "training.packing": False,
    "training.dataset_num_proc": 2,
    "training.report_to": "none",
    "generation.max_new_tokens": 128,
    "generation.temperature": 1.5,
    "generation.min_p": 0.1,
}


def value_at(spec: RunSpec, path: str) -> object:
    section, _, key = path.rpartition(".")
    return getattr(getattr(spec, section), key)


@pytest.mark.parametrize(("path", "value"), NOTEBOOK_DEFAULTS.items())
def test_defaults_are_the_notebooks(path: str, value: object):
    assert value_at(RunSpec(), path) == value
    assert field_info(path).default == value


def test_defaults_pass_every_check():
    assert check_spec(RunSpec()) == []
    assert build_spec({}) == (RunSpec(), [])


def test_every_field_has_a_label_and_help():
    for section in ("", *SECTIONS):
        for info in section_fields(section).values():
            assert info.title, info.path
            assert len(info.help) > 20, info.path
            parsed, error = parse_field(info, info.default)
            assert error is None, info.path
            assert parsed == info.default


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("training.learning_rate", 0, "above 0"),
        ("training.learning_rate", "fast", "Give a number above 0, 1 at most"),
        ("training.learning_rate", "nan", "Give a number"),
        ("training.learning_rate", True, "Give a number"),
        ("training.max_steps", 1.5, "whole number from -1"),
        ("training.max_steps", "many", "whole number"),
        ("training.max_steps", True, "whole number"),
        ("training.warmup_steps", -1, "from 0"),
        ("lora.r", 0, "from 1 to 1024"),
        ("lora.lora_dropout", 1, "from 0 to 1"),
        ("lora.target_modules", [], "at least one"),
        ("lora.target_modules", [5], "Give a list of these: q_proj"),
        ("lora.bias", "nine", "Did you mean none"),
        ("lora.use_gradient_checkpointing", "maybe", "is not one of unsloth, true, false"),
        ("lora.loftq_config", {"bits": 4}, "is not one of null"),
        ("model.load_in_4bit", "perhaps", "true or false"),
        ("model.model_name", "", "cannot be empty"),
        ("model.model_name", "   ", "cannot be empty"),
        ("dataset.path", 12, "in quotes"),
        ("dataset.test_size", 0.9, "from 0 to 0.5"),
        ("generation.prompts", "Who are you?", "list of texts"),
    ],
)
def test_wrong_values_are_errors_at_their_field(path: str, value: object, expected: str):
    section, _, key = path.partition(".")
    spec, errors = build_spec({section: {key: value}})
    assert spec is None
    assert [e.field for e in errors] == [path]
    assert expected in str(errors[0].message)


@pytest.mark.parametrize(
    ("path", "value", "meant"),
    [
        ("training.learning_rate", "2e-4", 2e-4),
        ("training.learning_rate", " 1e-05 ", 1e-5),
        ("training.learning_rate", 1, 1.0),
        ("training.max_steps", "60", 60),
        ("training.max_steps", -1, -1),
        ("model.load_in_4bit", "false", False),
        ("lora.use_gradient_checkpointing", "true", True),
        ("lora.use_gradient_checkpointing", False, False),
        ("lora.use_gradient_checkpointing", "unsloth", "unsloth"),
        ("lora.target_modules", ["q_proj"], ("q_proj",)),
        ("training.learning_rate", None, 2e-4),  # an empty YAML value is the default
        ("generation.system_prompt", "  kept  ", "  kept  "),
    ],
)
def test_values_are_converted(path: str, value: object, meant: object):
    section, _, key = path.partition(".")
    spec, errors = build_spec({section: {key: value}})
    assert errors == []
    assert spec is not None
    assert value_at(spec, path) == meant
    assert type(value_at(spec, path)) is type(meant)


def test_all_errors_are_reported_at_once():
    _, errors = build_spec({"training": {"max_steps": "x", "learning_rat": 1}, "lora": [], "modle": {}})
    assert {e.field for e in errors} == {"training.max_steps", "training.learning_rat", "lora", "modle"}


def test_unknown_settings_suggest_the_closest():
    _, errors = build_spec({"training": {"learning_rat": 1}, "modle": {}})
    assert "Did you mean learning_rate?" in str(errors[1].message)
    assert "Did you mean model?" in str(errors[0].message)
    assert did_you_mean("zzz", ["model"]) == ""


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"training": {"max_steps": 0}}, "training.max_steps"),
        ({"training": {"max_steps": 5, "warmup_steps": 5}}, "training.warmup_steps"),
        ({"dataset": {"prompt_template": "{instruction}"}}, "dataset.prompt_template"),
        ({"dataset": {"prompt_template": "no holes"}}, "dataset.prompt_template"),
        ({"dataset": {"last_answer_only": True, "train_on_responses_only": False}}, "dataset.last_answer_only"),
        ({"dataset": {"instruction_part": "Q"}}, "dataset.response_part"),
        ({"dataset": {"response_part": "A"}}, "dataset.instruction_part"),
        ({"training": {"packing": True}}, "training.packing"),
        ({"lora": {"target_modules": ["q_proj", "q_proj"]}}, "lora.target_modules"),
    ],
)
def test_rules_across_fields(values: dict[str, dict[str, object]], field: str):
    spec, errors = build_spec(values)
    assert spec is not None, "a form can still show it"
    assert [e.field for e in errors] == [field]


@pytest.mark.parametrize(
    "values",
    [
        {"training": {"max_steps": -1, "warmup_steps": 5}},
        {"training": {"max_steps": 6, "warmup_steps": 5}},
        {"dataset": {"prompt_template": "no holes", "format": "messages"}},
        {"training": {"packing": True}, "dataset": {"train_on_responses_only": False}},
    ],
)
def test_rules_accept_valid_specs(values: dict[str, dict[str, object]]):
    assert build_spec(values)[1] == []


def test_a_spec_is_immutable():
    with pytest.raises(AttributeError):
        RunSpec().training.max_steps = 1  # type: ignore[misc]


def test_a_spec_survives_json():
    assert msgspec.json.decode(msgspec.json.encode(RunSpec()), type=RunSpec) == RunSpec()


def test_held_out_rows_and_evaluation_data_exclude_each_other() -> None:
    for other in ({"eval_path": "x.json"}, {"eval_split": "test"}):
        [error] = check_spec(RunSpec(dataset=DatasetSpec(test_size=0.1, **other)))
        assert error.field == "dataset.test_size"
