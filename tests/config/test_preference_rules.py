"""What DPO, ORPO and KTO refuse before anything is loaded: one sentence at the field, exit code 2."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config.oom_fallback import smaller_settings
from engine.config.presets import find_preset
from engine.config.resume_rules import resume_errors
from engine.config.run_spec import RunSpec
from tests.helpers.engine_process import with_changes
from tui.cli.main import main

PAIR = {"prompt": "Who?", "chosen": "Loris.", "rejected": "Nobody."}
VOTE = {"prompt": "Who?", "completion": "Loris.", "label": True}
DATA: dict[str, list[dict[str, Any]]] = {
    "pairs": [PAIR], "votes": [VOTE, {**VOTE, "label": False}], "texts": [{"text": "Once."}],
    "answers": [{"instruction": "Who?", "output": "Loris."}], "one side": [{"prompt": "Who?", "chosen": "Loris."}],
}  # fmt: skip
SAMPLING = "training.train_sampling_strategy"
USUAL = {"dpo": "pairs", "orpo": "pairs", "kto": "votes"}
# Settings, kind of data or "" for the usual, the field, part of the sentence.
Wrong = tuple[dict[str, dict[str, Any]], str, str, str]
ALL: list[Wrong] = [
    ({"training": {"packing": True}}, "", "training.packing", "does not pack"),
    ({"training": {"neftune_noise_alpha": 5.0}}, "", "training.neftune_noise_alpha", "supervised"),
    ({"training": {"train_sampling_strategy": "group_by_length"}}, "", SAMPLING, "length"),
    ({"dataset": {"last_answer_only": True}}, "", "dataset.last_answer_only", "last answer"),
    ({"dataset": {"train_on_responses_only": False}}, "", "dataset.train_on_responses_only", "answers only"),
    ({"lora": {"lora_dropout": 0.1}}, "", "lora.lora_dropout", "without dropout"),
    ({"model": {"full_finetuning": True, "load_in_4bit": False}}, "", "model.full_finetuning", "an adapter"),
    ({"cpt": {"chunk_overlap": 4}}, "", "cpt.*", ""),
    ({}, "texts", "dataset.format", ""),
    ({}, "answers", "dataset.format", ""),
]  # fmt: skip
PAIRS: list[Wrong] = [
    ({}, "votes", "dataset.format", ""),
    ({}, "one side", "dataset.(format|rejected_column)", ""),
    ({"dataset": {"rejected_column": "worse"}}, "", "dataset.rejected_column", "no column"),
]
OWN: dict[str, list[Wrong]] = {
    "dpo": [
        *PAIRS,
        ({"dpo": {"beta": 0}}, "", "dpo.beta", ""),
        ({"dpo": {"loss_type": "sigmoit"}}, "", "dpo.loss_type", "Did you mean sigmoid"),
        ({"dpo": {"loss_type": "robust"}}, "", "dpo.label_smoothing", "needs the share"),
        ({"dpo": {"loss_type": "exo_pair"}}, "", "dpo.label_smoothing", "needs the share"),
        ({"dpo": {"label_smoothing": 0.1}}, "", "dpo.label_smoothing", "Only these losses"),
        ({"dpo": {"loss_type": "robust", "label_smoothing": 0.5}}, "", "dpo.label_smoothing", ""),
        ({"lora": {"target_modules": ["q_proj", "lm_head"]}}, "", "lora.target_modules", "leave it out"),
        ({"kto": {"beta": 0.2}}, "", "kto.*", ""),
    ],
    "orpo": [
        *PAIRS,
        ({"orpo": {"beta": 0}}, "", "orpo.beta", ""),
        ({"orpo": {"beta": "much"}}, "", "orpo.beta", ""),
        ({"orpo": {"loss_type": "sigmoid"}}, "", "orpo.loss_type", ""),
        ({"dpo": {"beta": 0.2}}, "", "dpo.*", ""),
    ],
    "kto": [
        ({"kto": {"beta": 0}}, "", "kto.beta", ""),
        ({"kto": {"loss_type": "sigmoid"}}, "", "kto.loss_type", ""),
        ({"kto": {"desirable_weight": 0}}, "", "kto.desirable_weight", ""),
        ({"kto": {"undesirable_weight": -1}}, "", "kto.undesirable_weight", ""),
        ({"training": {"per_device_train_batch_size": 1}}, "", "training.per_device_train_batch_size", "2 or more"),
        ({"training": {"train_sampling_strategy": "random"}}, "", SAMPLING, "neighbours"),
        ({"lora": {"target_modules": ["q_proj", "lm_head"]}}, "", "lora.target_modules", "leave it out"),
        ({"dataset": {"label_column": "vote"}}, "", "dataset.label_column", "no column"),
        ({"dpo": {"beta": 0.2}}, "", "dpo.*", ""),
    ],
}  # fmt: skip


def write_spec(place: Path, method: str, changes: dict[str, dict[str, Any]], data: str) -> Path:
    rows = place / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in DATA[data or USUAL[method]] * 4))
    preset = find_preset("demo")
    assert preset
    assert preset.spec
    values: dict[str, dict[str, Any]] = {
        "model": {"model_name": preset.spec.model.model_name}, "dataset": {"path": str(rows)},
        "training": {"method": method},
    }  # fmt: skip
    for section, fields in changes.items():
        values.setdefault(section, {}).update(fields)
    path = place / "spec.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize(
    ("method", "changes", "data", "field", "part"),
    [(method, *wrong) for method, own in OWN.items() for wrong in (*ALL, *own)],
)
def test_wrong_input_is_one_sentence_at_its_field(
    method: str,
    changes: dict[str, dict[str, Any]],
    data: str,
    field: str,
    part: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = write_spec(tmp_path, method, changes, data)
    assert main(["run", str(path)]) == 2
    said = capfd.readouterr().err
    assert re.fullmatch(rf"{re.escape(str(path))}(:\d+)?: {field}: .*{part}.*\n", said), said


def of(method: str, **sections: dict[str, Any]) -> RunSpec:
    return with_changes(RunSpec(), training={"method": method, **sections.pop("training", {})}, **sections)


def test_less_memory_keeps_the_batch_that_kto_needs() -> None:
    size = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    spec = of("kto", training=size)
    halved = [(change.field, change.value) for change in smaller_settings(spec, gpu=True)]
    assert halved[0] == ("training.per_device_train_batch_size", 2)
    spec = of("kto", training={**size, "per_device_train_batch_size": 2})
    assert smaller_settings(spec, gpu=True)[0].field == "model.max_seq_length"
    for other in (of("dpo", training={**size, "per_device_train_batch_size": 2}),
                  with_changes(spec, kto={"loss_type": "apo_zero_unpaired"})):  # fmt: skip
        assert smaller_settings(other, gpu=True)[0].field == "training.per_device_train_batch_size"


def test_what_decides_the_loss_stays_when_a_run_is_resumed() -> None:
    old = of("dpo")
    (refused,) = resume_errors(old, with_changes(old, dpo={"beta": 0.2}), step=1)
    assert refused.field == "dpo.beta"
    assert "what is learned" in str(refused.message)
    assert resume_errors(old, with_changes(old, dpo={"precompute_ref_log_probs": True}), step=1) == []
