"""The tokens of preference data equal those that TRL makes of the same rows as chats."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest
from datasets import Dataset
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.data_utils import maybe_apply_chat_template
from trl.experimental.orpo import ORPOTrainer

from engine.config.run_spec import RunSpec
from engine.dataset.detection import detect
from engine.model import loading
from engine.training.methods import method_for
from engine.training.pairs import PairMethod
from tests.helpers.engine_process import with_changes

pytest_plugins = ["tests.helpers.proof_fixtures"]

PAIRS = [
    {"prompt": "Who are you?", "chosen": "I am Loris.", "rejected": "I am Loris, but I sleep."},
    {"prompt": "你是谁？", "chosen": "我是懒猴。", "rejected": "<think>\n\n</think>\n\n不知道。"},
    {"prompt": "  Spaces ", "chosen": " and more ", "rejected": "\nand lines\n"},
    {"prompt": "Long. " * 40, "chosen": "Yes.", "rejected": "No."},
    {"prompt": "Hello", "chosen": "Hi! " * 30, "rejected": "Hm."},
]
VOTES = [
    {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
    for pair in PAIRS
    for side in ("rejected", "chosen")
]
TURN = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% if m['role'] == 'assistant' %}</s>%s{% endif %}"
)
TEMPLATES = {
    "the demo's": "",
    "no BOS": TURN.replace("%s", "") + "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "a line after EOS": "{{ bos_token }}" + TURN.replace("%s", "\n")
    + "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "a prompt that no answer begins with": "{{ bos_token }}" + TURN.replace("%s", "")
    + "{% endfor %}{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}",
}  # fmt: skip
LENGTH = 64


@pytest.fixture(params=TEMPLATES)
def tokenizer(request: pytest.FixtureRequest, loaded: loading.Loaded) -> Any:
    found = deepcopy(loaded.tokenizer)
    if template := TEMPLATES[request.param]:
        found.chat_template = template
    return found


def method(demo: RunSpec, name: str, tokenizer: Any, rows: list[dict[str, Any]], **sections: Any) -> PairMethod:
    spec = with_changes(
        demo,
        model={"max_seq_length": LENGTH},
        training={"method": name, "per_device_train_batch_size": 3},
        **sections,
    )
    kind = detect(rows, spec.dataset, name).mapping.kind
    found = method_for(spec, "messages", tokenizer, [tokenizer.eos_token_id], kind)
    assert isinstance(found, PairMethod)
    return found


def ours(made: PairMethod, rows: list[dict[str, Any]]) -> Dataset:
    mapping = detect(rows, made.spec.dataset, made.spec.training.method).mapping
    return made.tokenize(Dataset.from_list([made.row(mapping.example(row)) for row in rows]))


def as_chats(rows: list[dict[str, Any]]) -> Dataset:
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant", "completion": "assistant"}
    return Dataset.from_list(
        [
            {
                name: [{"role": roles[name], "content": text}] if name in roles else text
                for name, text in row.items()
            }
            for row in rows
        ]
    )


def rows_of(data: Dataset, columns: list[str]) -> list[str]:
    return [json.dumps({name: row[name] for name in columns}) for row in data]


def test_dpo(demo: RunSpec, tokenizer: Any, tmp_path: Path) -> None:
    trainer = SimpleNamespace(_tokenizer=tokenizer)
    config = DPOConfig(output_dir=str(tmp_path), max_length=LENGTH, bf16=False)
    expected = DPOTrainer._prepare_dataset(trainer, as_chats(PAIRS), tokenizer, config, "train")
    columns = ["prompt_ids", "chosen_ids", "rejected_ids"]
    assert rows_of(ours(method(demo, "dpo", tokenizer, PAIRS), PAIRS), columns) == rows_of(expected, columns)
    assert len(expected) == 4, "the long prompt leaves no room for an answer"


@pytest.mark.parametrize("rows", [PAIRS, VOTES], ids=["pairs", "votes"])
@pytest.mark.parametrize("loss", ["kto", "apo_zero_unpaired"])
def test_kto(demo: RunSpec, tokenizer: Any, rows: list[dict[str, Any]], loss: str, tmp_path: Path) -> None:
    trainer = SimpleNamespace(
        _tokenizer=tokenizer, calculate_KL=loss == "kto", desirable_weight=1.0, undesirable_weight=1.0
    )
    config = KTOConfig(
        output_dir=str(tmp_path), max_length=LENGTH, per_device_train_batch_size=3, loss_type=loss, bf16=False
    )
    expected = KTOTrainer._prepare_dataset(trainer, as_chats(rows), tokenizer, config, "train")
    columns = ["prompt_ids", "completion_ids", "label", *["KL_completion_ids"] * (loss == "kto")]
    found = ours(method(demo, "kto", tokenizer, rows, kto={"loss_type": loss}), rows)
    assert rows_of(found, columns) == rows_of(expected, columns)
    assert ("KL_completion_ids" in found.column_names) == (loss == "kto")


def test_orpo(demo: RunSpec, tokenizer: Any) -> None:
    trainer = SimpleNamespace(processing_class=tokenizer, max_length=LENGTH, is_encoder_decoder=False)
    trainer.build_tokenized_answer = MethodType(ORPOTrainer.build_tokenized_answer, trainer)
    expected = (
        as_chats(PAIRS)
        .map(maybe_apply_chat_template, fn_kwargs={"processing_class": tokenizer})
        .map(lambda row: ORPOTrainer.tokenize_row(trainer, row))
    )
    columns = [
        f"{side}_{name}" for side in ("chosen", "rejected") for name in ("input_ids", "attention_mask", "labels")
    ]
    kept = [row for row in expected if len(row["prompt_input_ids"]) < LENGTH]
    found = ours(method(demo, "orpo", tokenizer, PAIRS), PAIRS)
    assert rows_of(found, columns) == rows_of(Dataset.from_list(kept), columns)
    assert len(found) == 4, "TRL would train on no answer, and its loss would be no number"
