"""Loads an adapter with transformers and peft alone: BASE ADAPTER, then questions. Prints the answers as JSON."""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base, adapter, *questions = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(adapter)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
answers = []
for question in questions:
    turns = [{"role": "user", "content": question}]
    batch = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    made = model.generate(**batch, max_new_tokens=48, do_sample=False)
    answers.append(tokenizer.decode(made[0, batch["input_ids"].shape[1] :], skip_special_tokens=True))
assert "unsloth" not in sys.modules
sys.stdout.write(json.dumps(answers, ensure_ascii=False) + "\n")
