"""`python -m engine.export.load_back JOB.json`: loads an exported model without Unsloth and runs it.

JOB.json: {"folder", "ids": lists of tokens, "out": the file for the logits of each list, "device",
"scores": whether it is a reward model}.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer


def main() -> None:
    """Run each list of tokens through the model."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    AutoTokenizer.from_pretrained(job["folder"])
    device = {"device_map": {"": 0}} if job["device"] == "cuda" else {}
    kind: Any = AutoModelForSequenceClassification if job["scores"] else AutoModelForCausalLM
    model, info = kind.from_pretrained(job["folder"], dtype="auto", output_loading_info=True, **device)
    if info["missing_keys"]:
        sys.exit(f"no weights for {', '.join(sorted(info['missing_keys'])[:8])}")
    model.train(False)
    logits = {}
    with torch.no_grad():
        for number, ids in enumerate(job["ids"]):
            made = model(input_ids=torch.tensor([ids], device=model.device)).logits
            logits[str(number)] = made[0].float().cpu().contiguous()
    save_file(logits, job["out"])


if __name__ == "__main__":
    main()
