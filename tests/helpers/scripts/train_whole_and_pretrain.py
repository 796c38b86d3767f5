"""Full fine-tuning and continued pretraining as Unsloth's notebooks write them, without Loris except for the specs.

Prints a JSON list for each spec: the loss of every step.
"""

import json
import sys
from pathlib import Path
from typing import Any

# isort: off
from unsloth import (
    FastLanguageModel,
    UnslothTrainer,
    UnslothTrainingArguments,
)  # first, because it patches the others
from unsloth.chat_templates import train_on_responses_only

import torch
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec


def arguments(spec: RunSpec) -> dict[str, Any]:
    t = spec.training
    return {
        "per_device_train_batch_size": t.per_device_train_batch_size,
        "gradient_accumulation_steps": t.gradient_accumulation_steps,
        "warmup_steps": t.warmup_steps, "max_steps": t.max_steps, "learning_rate": t.learning_rate,
        "logging_steps": 1, "optim": "adamw_torch_fused", "weight_decay": t.weight_decay, "bf16": False,
        "lr_scheduler_type": t.lr_scheduler_type, "seed": t.seed, "max_length": spec.model.max_seq_length,
        "dataset_text_field": "text", "output_dir": "outputs", "save_strategy": "no", "report_to": "none",
    }  # fmt: skip


def whole(spec: RunSpec, model: Any, tokenizer: Any, dataset: Any) -> Any:
    def as_text(rows: dict[str, Any]) -> dict[str, list[str]]:
        texts = (tokenizer.apply_chat_template(turns, tokenize=False) for turns in rows["messages"])
        return {"text": [text.removeprefix(tokenizer.bos_token) for text in texts]}

    dataset = dataset.map(as_text, batched=True).select_columns(["text"])
    trainer = SFTTrainer(
        model=model, processing_class=tokenizer, train_dataset=dataset, args=SFTConfig(**arguments(spec))
    )
    return train_on_responses_only(trainer, instruction_part="<|user|>", response_part="<|assistant|>")


def pretrain(spec: RunSpec, model: Any, tokenizer: Any, dataset: Any) -> Any:
    lora, limit = spec.lora, spec.model.max_seq_length
    model = FastLanguageModel.get_peft_model(
        model, r=lora.r, target_modules=list(lora.target_modules), modules_to_save=list(lora.modules_to_save),
        ensure_weight_tying=True, lora_alpha=lora.lora_alpha, lora_dropout=0, bias="none",
        use_gradient_checkpointing="unsloth", random_state=lora.random_state, use_rslora=lora.use_rslora,
    )  # fmt: skip

    def pieces(rows: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        found = []
        for text in rows["text"]:
            ids = tokenizer(text + tokenizer.eos_token)["input_ids"]
            at = 0
            while True:
                found.append(ids[at : at + limit])
                if at + limit >= len(ids):
                    break
                at += limit - spec.cpt.chunk_overlap
        return {"input_ids": found}

    if spec.cpt.long_documents == "chunk":
        dataset = dataset.map(pieces, batched=True, remove_columns=["text"])
    else:
        dataset = dataset.map(lambda row: {"text": row["text"] + tokenizer.eos_token})
    rate = spec.cpt.embedding_learning_rate or None
    return UnslothTrainer(
        model=model, processing_class=tokenizer, train_dataset=dataset,
        args=UnslothTrainingArguments(embedding_learning_rate=rate, **arguments(spec)),
    )  # fmt: skip


def train(spec: RunSpec) -> list[float]:
    """The loss of every step."""
    full = spec.model.full_finetuning
    model, tokenizer = FastLanguageModel.from_pretrained(
        model_name=spec.model.model_name, max_seq_length=spec.model.max_seq_length, dtype=torch.float32,
        load_in_4bit=False, full_finetuning=full,
    )  # fmt: skip
    dataset = load_dataset("json", data_files=spec.dataset.path, split="train")
    trainer = (whole if full else pretrain)(spec, model, tokenizer, dataset)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


for path in sys.argv[1:]:
    sys.stdout.write(json.dumps(train(load_spec(Path(path)))) + "\n")
