"""`python -m engine.export.gguf_answer FILE.gguf ANSWER.json TOKENS PROMPT`: has llama.cpp answer a prompt.

Needs the prebuilt binding xllamacpp. ANSWER.json then contains {"text": ...}.
"""

import json
import sys
from pathlib import Path


def main() -> None:
    """Answer greedily."""
    import xllamacpp

    file, out, tokens, prompt = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_ctx = 1024
    params.n_gpu_layers = 0
    params.warmup = False
    server = xllamacpp.Server(params)
    reply = server.handle_completions({"prompt": prompt, "max_tokens": int(tokens), "temperature": 0})
    Path(out).write_text(json.dumps({"text": reply["choices"][0]["text"]}, ensure_ascii=False), "utf-8")


if __name__ == "__main__":
    main()
