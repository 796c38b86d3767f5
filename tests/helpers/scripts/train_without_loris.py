"""The same run as a notebook's user would write it, without Loris except for reading the spec.

Prints the loss of every step as a JSON list.
"""

import json
import sys
from pathlib import Path

# isort: off
from unsloth import FastLanguageModel  # first, because it patches the others
from unsloth.chat_templates import train_on_responses_only

import torch
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

from engine.config.spec_files import load_spec

spec = load_spec(Path(sys.argv[1]))
GPU = torch.cuda.is_available()  # from Ampere on
m, lora, t = spec.model, spec.lora, spec.training

model, tokenizer = FastLanguageModel.from_pretrained(
    model_name=m.model_name,
    max_seq_length=m.max_seq_length,
    dtype=None if GPU else torch.float32,
    load_in_4bit=m.load_in_4bit and GPU,
)
model = FastLanguageModel.get_peft_model(
    model,
    r=lora.r,
    target_modules=list(lora.target_modules),
    lora_alpha=lora.lora_alpha,
    lora_dropout=lora.lora_dropout,
    bias=lora.bias,
    use_gradient_checkpointing=lora.use_gradient_checkpointing,
    random_state=lora.random_state,
    use_rslora=lora.use_rslora,
    loftq_config=None,
)
dataset = load_dataset("json", data_files=spec.dataset.path, split=spec.dataset.split)
dataset = dataset.map(
    lambda rows: {
        "text": [
            tokenizer.apply_chat_template(turns, tokenize=False).removeprefix(tokenizer.bos_token)
            for turns in rows["messages"]
        ]
    },
    batched=True,
)
trainer = SFTTrainer(
    model=model,
    processing_class=tokenizer,
    train_dataset=dataset.select_columns(["text"]),
    args=SFTConfig(
        per_device_train_batch_size=t.per_device_train_batch_size,
        gradient_accumulation_steps=t.gradient_accumulation_steps,
        warmup_steps=t.warmup_steps,
        max_steps=t.max_steps,
        num_train_epochs=t.num_train_epochs,
        learning_rate=t.learning_rate,
        fp16=False,
        bf16=GPU,
        logging_steps=1,
        optim=t.optim if GPU else "adamw_torch_fused",
        weight_decay=t.weight_decay,
        lr_scheduler_type=t.lr_scheduler_type,
        seed=t.seed,
        max_length=m.max_seq_length,
        dataset_text_field="text",
        packing=False,
        output_dir="outputs",
        save_strategy="no",
        report_to="none",
    ),
)
trainer = train_on_responses_only(trainer, instruction_part="<|user|>", response_part="<|assistant|>")
trainer.train()
sys.stdout.write(json.dumps([entry["loss"] for entry in trainer.state.log_history if "loss" in entry]) + "\n")
