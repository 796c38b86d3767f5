"""Preference trainings as TRL and Unsloth document them, without Loris except for reading the specs.

The rows become conversations, which TRL tokenises itself. Prints a JSON list for each spec: the trainer's logs.
"""

import json
import sys
from pathlib import Path
from typing import Any

# isort: off
from unsloth import FastLanguageModel  # first, because it patches the others

import torch
from datasets import load_dataset
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec

TRAINERS = {"dpo": (DPOTrainer, DPOConfig), "orpo": (ORPOTrainer, ORPOConfig), "kto": (KTOTrainer, KTOConfig)}
ROLES = {"prompt": "user", "chosen": "assistant", "rejected": "assistant", "completion": "assistant"}


def conversations(path: str) -> Any:
    def chat(row: dict[str, Any]) -> dict[str, Any]:
        return {
            name: [{"role": ROLES[name], "content": value}] if isinstance(value, str) else value
            for name, value in row.items()
        }

    return load_dataset("json", data_files=path, split="train").map(chat)


def train(spec: RunSpec) -> list[dict[str, float]]:
    """What the trainer logs."""
    m, lora, t = spec.model, spec.lora, spec.training
    model, tokenizer = FastLanguageModel.from_pretrained(
        model_name=m.model_name, max_seq_length=m.max_seq_length, dtype=torch.float32, load_in_4bit=False
    )
    model = FastLanguageModel.get_peft_model(
        model, r=lora.r, target_modules=list(lora.target_modules), lora_alpha=lora.lora_alpha,
        use_gradient_checkpointing=lora.use_gradient_checkpointing, random_state=lora.random_state,
    )  # fmt: skip
    trainer_class, config_class = TRAINERS[t.method]
    trainer = trainer_class(
        model=model,
        processing_class=tokenizer,
        train_dataset=conversations(spec.dataset.path),
        eval_dataset=conversations(spec.dataset.eval_path),
        args=config_class(
            per_device_train_batch_size=t.per_device_train_batch_size,
            per_device_eval_batch_size=t.per_device_train_batch_size,
            gradient_accumulation_steps=t.gradient_accumulation_steps,
            warmup_steps=t.warmup_steps, max_steps=t.max_steps, learning_rate=t.learning_rate,
            lr_scheduler_type=t.lr_scheduler_type, optim="adamw_torch_fused", weight_decay=t.weight_decay,
            bf16=False, logging_steps=1, seed=t.seed, max_length=m.max_seq_length,
            eval_strategy="steps", eval_steps=t.eval_steps,
            output_dir="outputs", save_strategy="no", report_to="none",
        ),
    )  # fmt: skip
    trainer.train()
    return list(trainer.state.log_history)


for path in sys.argv[1:]:
    sys.stdout.write(json.dumps(train(load_spec(Path(path)))) + "\n")
