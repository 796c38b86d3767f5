"""Unsloth's inference mode, left without a trace: what it and `generate` set is put back to what was there before.

Left behind, its settings change a training that follows: the tokenizer would pad on the left.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from transformers import PreTrainedConfig
from unsloth import FastLanguageModel

# Attributes of modules. The last remembers the `use_cache` of the configs.
FLAGS = (
    "training", "gradient_checkpointing", "_flag_for_generation", "generation_config",
    "prepare_inputs_for_generation", "_unsloth_use_cache_originals",
)  # fmt: skip
VARIABLES = ("UNSLOTH_RETURN_LOGITS", "UNSLOTH_RETURN_HIDDEN_STATES")


@contextmanager
def inference_mode(model: Any) -> Iterator[None]:
    """Switch to Unsloth's inference mode, then back to exactly the state before."""
    training = model.training
    with ExitStack() as stack:
        stack.enter_context(_kept(os.environ, VARIABLES))
        for module in model.modules():
            stack.enter_context(_kept(vars(module), FLAGS))
        for owner in _configs_and_tokenizers(model):
            stack.enter_context(_kept(vars(owner)))
        FastLanguageModel.for_inference(model)
        try:
            yield
        finally:
            if training:  # it also drops what inference cached on the weights
                FastLanguageModel.for_training(model)


@contextmanager
def _kept(values: Any, names: Iterable[str] | None = None) -> Iterator[None]:
    """Put back these values of a mapping, or all of them."""
    before = dict(values)
    try:
        yield
    finally:
        for name in {*values, *before} if names is None else names:
            if name in before:
                values[name] = before[name]
            else:
                values.pop(name, None)


def _configs_and_tokenizers(model: Any) -> list[Any]:
    """The configs of a model's modules with the configs in them, and the tokenizers that Unsloth keeps on them."""
    found: dict[int, Any] = {}
    todo = [
        owner
        for module in model.modules()
        for name in ("config", "generation_config", "_saved_temp_tokenizer")
        if hasattr(owner := vars(module).get(name), "__dict__")
    ]
    while todo:
        owner = todo.pop()
        if id(owner) in found:
            continue
        found[id(owner)] = owner
        inner = [vars(owner).get("tokenizer")]  # of a processor
        inner += [value for value in vars(owner).values() if isinstance(value, PreTrainedConfig)]
        todo += [one for one in inner if hasattr(one, "__dict__")]
    return list(found.values())
