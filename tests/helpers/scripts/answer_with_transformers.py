"""Loads a merged model with transformers alone and answers questions: MODEL_FOLDER, then questions.

Prints the answers as a JSON list.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, *questions = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
answers = []
for question in questions:
    turns = [{"role": "user", "content": question}]
    batch = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    made = model.generate(**batch, max_new_tokens=48, do_sample=False)
    answers.append(tokenizer.decode(made[0, batch["input_ids"].shape[1] :], skip_special_tokens=True))
sys.stdout.write(json.dumps(answers, ensure_ascii=False) + "\n")
