"""The base model as it was before an adapter was put on it, to the last bit: by the same code, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from unsloth.kernels import apply_lora_mlp_geglu_approx, apply_lora_mlp_geglu_exact, apply_lora_mlp_swiglu
from unsloth.models.llama import original_apply_o, original_apply_qkv

from engine.model.loading import Loaded

# What Unsloth puts on layers with an adapter. With the adapter off these compute the base model's own sums, but
# round elsewhere than the layers of a model that never had one.
FUSED_MLPS = (apply_lora_mlp_swiglu, apply_lora_mlp_geglu_exact, apply_lora_mlp_geglu_approx)
PLAIN = {"apply_qkv": original_apply_qkv, "apply_o": original_apply_o}


@contextmanager
def base_model(loaded: Loaded) -> Iterator[None]:
    """Have the base model answer, in place of the adapter that is on it. Nothing is copied."""
    if not loaded.has_adapter:
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(loaded.model.disable_adapter())
        for module in loaded.model.modules():
            stack.enter_context(_plain(module))
        yield


@contextmanager
def _plain(module: Any) -> Iterator[None]:
    """Let a module compute as its class does, or as Unsloth has it without an adapter."""
    own = module.__dict__
    set_aside = {}
    for name, plain in PLAIN.items():
        if own.get(name, plain) is not plain:
            set_aside[name], own[name] = own[name], plain
    for name in ("forward", "_unsloth_forward"):
        function = getattr(own.get(name), "__func__", None)
        if getattr(function, "func", function) in FUSED_MLPS:
            set_aside[name] = own[name]
            if name == "forward":
                del own[name]
            else:
                own[name] = type(module).forward
    try:
        yield
    finally:
        own.update(set_aside)
