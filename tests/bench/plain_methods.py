"""The other side of `tests.bench.methods`: each method as a plain script by Unsloth and TRL, from the same spec.

`python -m tests.bench.plain_methods SPEC` prints [losses, seconds of each step, peak bytes].
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

# isort: off
from unsloth import FastLanguageModel, UnslothTrainer, UnslothTrainingArguments  # first: it patches the others

import torch
import trl
from datasets import load_dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, TrainerCallback
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from unsloth.chat_templates import train_on_responses_only

from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec

GPU = torch.cuda.is_available()
TRAINERS = {
    "sft": (trl.SFTTrainer, trl.SFTConfig),
    "cpt": (UnslothTrainer, UnslothTrainingArguments),
    "dpo": (trl.DPOTrainer, trl.DPOConfig),
    "orpo": (ORPOTrainer, ORPOConfig),
    "kto": (trl.KTOTrainer, trl.KTOConfig),
    "grpo": (trl.GRPOTrainer, trl.GRPOConfig),
    "reward": (trl.RewardTrainer, trl.RewardConfig),
}
ROLES = {"prompt": "user", "chosen": "assistant", "rejected": "assistant", "completion": "assistant"}


class Clock(TrainerCallback):
    """The seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.last = time.monotonic()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if GPU:
            torch.cuda.synchronize()
        now = time.monotonic()
        self.seconds.append(now - self.last)
        self.last = now


def length_reward(completions: Any, **_: Any) -> list[float]:
    texts = [one[0]["content"] if isinstance(one, list) else one for one in completions]
    return [float(8 <= len(text) <= 400) for text in texts]


def load(spec: RunSpec) -> tuple[Any, Any, dict[str, Any]]:
    """(model, tokenizer, further arguments of the trainer)."""
    m, lora = spec.model, spec.lora
    in_4bit = GPU and m.load_in_4bit
    adapter: dict[str, Any] = {
        "r": lora.r,
        "lora_alpha": lora.lora_alpha,
        "target_modules": list(lora.target_modules),
    }
    if spec.training.method == "reward":
        bits: Any = BitsAndBytesConfig
        quantised = bits(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16, llm_int8_skip_modules=["score"],
        )  # fmt: skip
        model = AutoModelForSequenceClassification.from_pretrained(
            m.model_name, num_labels=1, dtype=torch.bfloat16 if GPU else torch.float32,
            **({"quantization_config": quantised, "device_map": {"": 0}} if in_4bit else {}),
        )  # fmt: skip
        tokenizer = AutoTokenizer.from_pretrained(m.model_name)
        model.config.pad_token_id = tokenizer.pad_token_id
        # Not by `peft_config`: Unsloth's check of quantised models comes before the trainer adds the adapter.
        head = LoraConfig(task_type="SEQ_CLS", modules_to_save=["score"], **adapter)
        return get_peft_model(model, head), tokenizer, {}
    model, tokenizer = FastLanguageModel.from_pretrained(
        model_name=m.model_name, max_seq_length=m.max_seq_length, dtype=None if GPU else torch.float32,
        load_in_4bit=in_4bit, full_finetuning=m.full_finetuning,
    )  # fmt: skip
    if not m.full_finetuning:
        model = FastLanguageModel.get_peft_model(
            model, use_gradient_checkpointing=lora.use_gradient_checkpointing, random_state=lora.random_state,
            use_rslora=lora.use_rslora, modules_to_save=list(lora.modules_to_save) or None, **adapter,
        )  # fmt: skip
    return model, tokenizer, {}


def train(spec: RunSpec) -> tuple[list[float], list[float], int]:
    t, method = spec.training, spec.training.method
    trainer_class, config_class = TRAINERS[method]
    model, tokenizer, named = load(spec)
    rows = load_dataset("json", data_files=spec.dataset.path, split="train")

    def chat(row: dict[str, Any]) -> dict[str, Any]:
        if method == "sft":
            turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["answer"]}]
            text = tokenizer.apply_chat_template(turns, tokenize=False)
            return {"text": text.removeprefix(tokenizer.bos_token)}
        if method == "cpt":
            return {"text": row["text"] + tokenizer.eos_token}
        return {k: [{"role": ROLES[k], "content": v}] if k in ROLES else v for k, v in row.items()}

    rows = rows.map(chat)
    own: dict[str, Any] = {"max_length": spec.model.max_seq_length}
    if method in ("sft", "cpt"):
        rows = rows.select_columns(["text"])
        own |= {"dataset_text_field": "text", "dataset_num_proc": 1}
    if method == "cpt":
        own["embedding_learning_rate"] = spec.cpt.embedding_learning_rate
    if method == "grpo":
        g = spec.grpo
        own = {"num_generations": g.num_generations, "max_completion_length": g.max_completion_length,
               "temperature": g.temperature, "beta": g.beta, "loss_type": g.loss_type, "epsilon": g.epsilon,
               "epsilon_high": g.epsilon_high}  # fmt: skip
        named = {"reward_funcs": [length_reward]}
    clock = Clock()
    trainer = trainer_class(
        model=model, processing_class=tokenizer, train_dataset=rows, callbacks=[clock], **named,
        args=config_class(
            per_device_train_batch_size=t.per_device_train_batch_size,
            gradient_accumulation_steps=t.gradient_accumulation_steps, warmup_steps=t.warmup_steps,
            max_steps=t.max_steps, learning_rate=t.learning_rate, lr_scheduler_type=t.lr_scheduler_type,
            optim=t.optim if GPU else "adamw_torch_fused", weight_decay=t.weight_decay, bf16=GPU, fp16=False,
            logging_steps=1, seed=t.seed, output_dir="outputs", save_strategy="no", report_to="none", **own,
        ),
    )  # fmt: skip
    if method == "sft":
        trainer = train_on_responses_only(trainer)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return losses, clock.seconds, torch.cuda.max_memory_reserved() if GPU else 0


sys.stdout.write(json.dumps(train(load_spec(Path(sys.argv[1])))) + "\n")
