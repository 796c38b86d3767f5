"""The same runs as a notebook's user would write them, without Loris except for reading the specs.

Prints a JSON list for each spec: the loss of every step.
"""

import json
import sys
from pathlib import Path

# isort: off
from unsloth import FastLanguageModel  # first, because it patches the others
from unsloth.chat_templates import get_chat_template, train_on_responses_only

import torch
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec

GPU = torch.cuda.is_available()  # from Ampere on
MARKERS = {
    "auto": ("<|user|>", "<|assistant|>"),
    "chatml": ("<|im_start|>user\n", "<|im_start|>assistant\n"),
}


def train(spec: RunSpec) -> list[float]:
    """The loss of every step."""
    m, lora, t = spec.model, spec.lora, spec.training
    dtype = None if m.dtype == "auto" else getattr(torch, m.dtype)
    model, tokenizer = FastLanguageModel.from_pretrained(
        model_name=m.model_name,
        max_seq_length=m.max_seq_length,
        dtype=dtype if GPU or dtype else torch.float32,
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
    if spec.dataset.chat_template != "auto":
        tokenizer = get_chat_template(tokenizer, chat_template=spec.dataset.chat_template)
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
            bf16=dtype == torch.bfloat16 if dtype else GPU,
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
    instruction_part, response_part = MARKERS[spec.dataset.chat_template]
    trainer = train_on_responses_only(trainer, instruction_part=instruction_part, response_part=response_part)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


for path in sys.argv[1:]:
    sys.stdout.write(json.dumps(train(load_spec(Path(path)))) + "\n")
