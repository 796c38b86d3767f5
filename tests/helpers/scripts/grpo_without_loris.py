"""A GRPO run as the documentation of TRL and Unsloth has it, without Loris except for reading the spec.

Prompts are chats, tokenised by TRL; the reward is a function. Prints two JSON lists: what the trainer logged at
every step, and the ids of the prompt and the answers of every step.
"""

import json
import sys
from pathlib import Path
from typing import Any

# isort: off
from unsloth import FastLanguageModel  # first, because it patches the others

import torch
from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec


def train(spec: RunSpec) -> tuple[list[dict[str, Any]], list[list[Any]]]:
    """(the trainer's logs, the (prompt, prompt ids, answers) of every step)."""
    m, lora, t, g = spec.model, spec.lora, spec.training, spec.grpo
    model, tokenizer = FastLanguageModel.from_pretrained(
        model_name=m.model_name, max_seq_length=m.max_seq_length, dtype=torch.float32, load_in_4bit=False
    )
    model = FastLanguageModel.get_peft_model(
        model, r=lora.r, target_modules=list(lora.target_modules), lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout, bias=lora.bias, random_state=lora.random_state,
        use_gradient_checkpointing=lora.use_gradient_checkpointing,
    )  # fmt: skip
    dataset = load_dataset("json", data_files=spec.dataset.path, split="train")
    dataset = dataset.map(lambda row: {"prompt": [{"role": "user", "content": row["prompt"]}]})
    written: list[list[Any]] = []

    def answer(prompts: Any, completions: Any, answer: list[str], **_: Any) -> list[float]:
        texts = [turns[0]["content"] for turns in completions]
        ids = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=True)["input_ids"]
        written.append([[turns[0]["content"] for turns in prompts], ids, texts])
        return [float(text.strip() == wanted) for text, wanted in zip(texts, answer, strict=True)]

    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=[answer],
        train_dataset=dataset,
        args=GRPOConfig(
            per_device_train_batch_size=t.per_device_train_batch_size,
            gradient_accumulation_steps=t.gradient_accumulation_steps,
            num_generations=g.num_generations,
            max_completion_length=g.max_completion_length,
            temperature=g.temperature,
            beta=g.beta,
            loss_type=g.loss_type,
            epsilon=g.epsilon,
            epsilon_high=g.epsilon_high,
            max_steps=t.max_steps,
            learning_rate=t.learning_rate,
            warmup_steps=t.warmup_steps,
            lr_scheduler_type=t.lr_scheduler_type,
            weight_decay=t.weight_decay,
            max_grad_norm=t.max_grad_norm,
            optim="adamw_torch_fused",
            bf16=False,
            fp16=False,
            logging_steps=1,
            seed=t.seed,
            output_dir="outputs",
            save_strategy="no",
            report_to="none",
        ),
    )
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry], written


for found in train(load_spec(Path(sys.argv[1]))):
    sys.stdout.write(json.dumps(found) + "\n")
