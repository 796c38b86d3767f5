"""Asks GGUF files through llama.cpp's prebuilt binding alone: QUESTION, then files. Prints the answers as JSON."""

import json
import sys

import xllamacpp

question, *files = sys.argv[1:]
answers = []
for file in files:
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_ctx = 512
    params.warmup = False
    server = xllamacpp.Server(params)
    messages = [{"role": "user", "content": question}]
    reply = server.handle_chat_completions({"messages": messages, "max_tokens": 48, "temperature": 0})
    answers.append(reply["choices"][0]["message"]["content"])
    del server
sys.stdout.write(json.dumps(answers, ensure_ascii=False) + "\n")
