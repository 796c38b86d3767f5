"""`python -m engine.export.merge_scores BASE ADAPTER FOLDER`: merges a reward model's adapter into its base."""

import sys
from typing import Any

from peft import PeftModel
from transformers import AutoModelForSequenceClassification


def main() -> None:
    """BASE: a folder or Hub id with weights that are not quantised."""
    base, adapter, folder = sys.argv[1:4]
    model: Any = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype="auto")
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    merged.save_pretrained(folder)


if __name__ == "__main__":
    main()
