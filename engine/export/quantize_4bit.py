"""`python -m engine.export.quantize_4bit MERGED TARGET DTYPE`: 16-bit weights to bitsandbytes 4-bit, on the GPU."""

import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig


def main() -> None:
    """Load it quantised, and save that."""
    merged, target, dtype = sys.argv[1:]
    four_bits = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    model = AutoModelForCausalLM.from_pretrained(
        merged, quantization_config=four_bits, dtype=getattr(torch, dtype), device_map={"": 0}
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(merged).save_pretrained(target)


if __name__ == "__main__":
    main()
