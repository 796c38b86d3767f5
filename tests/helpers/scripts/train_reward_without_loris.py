"""A reward model as TRL's documentation trains it, without Loris except for reading the specs, and without Unsloth.

Prints a JSON list for each spec: the loss and the metrics of every step.
"""

import json
import sys
from pathlib import Path

import torch
from datasets import load_dataset
from peft import LoraConfig, TaskType
from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed
from trl import RewardConfig, RewardTrainer

from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec

KEYS = ("loss", "accuracy", "margin", "mean_reward", "min_reward", "max_reward")


def train(spec: RunSpec) -> list[dict[str, float]]:
    """The loss and the metrics of every step."""
    lora, t = spec.lora, spec.training
    set_seed(t.seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        spec.model.model_name, num_labels=1, dtype=torch.float32
    )
    dataset = load_dataset("json", data_files=spec.dataset.path, split="train").map(
        lambda row: {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
    )
    trainer = RewardTrainer(
        model=model,
        processing_class=AutoTokenizer.from_pretrained(spec.model.model_name),
        train_dataset=dataset,
        peft_config=LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=lora.r,
            lora_alpha=lora.lora_alpha,
            target_modules=list(lora.target_modules),
            modules_to_save=["score"],
        ),
        args=RewardConfig(
            per_device_train_batch_size=t.per_device_train_batch_size,
            gradient_accumulation_steps=t.gradient_accumulation_steps,
            warmup_steps=t.warmup_steps,
            max_steps=t.max_steps,
            learning_rate=t.learning_rate,
            center_rewards_coefficient=spec.reward.center_rewards_coefficient,
            weight_decay=t.weight_decay,
            lr_scheduler_type=t.lr_scheduler_type,
            optim="adamw_torch_fused",
            seed=t.seed,
            max_length=spec.model.max_seq_length,
            gradient_checkpointing=bool(lora.use_gradient_checkpointing),
            bf16=False,
            logging_steps=1,
            output_dir="outputs",
            save_strategy="no",
            report_to="none",
        ),
    )
    trainer.train()
    return [{key: step[key] for key in KEYS} for step in trainer.state.log_history if "loss" in step]


for path in sys.argv[1:]:
    sys.stdout.write(json.dumps(train(load_spec(Path(path)))) + "\n")
