"""The base model without its adapter, exact to the last bit: run by the same code as before."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, NamedTuple

from engine.model.hardware import has_gpu
from engine.model.loading import Loaded


class Fused(NamedTuple):
    """The functions Unsloth puts on layers with an adapter, and what replaces those that are not methods.

    With the adapter off they compute the same sums as the base model's layers, but round at different points.
    """

    mlps: tuple[Callable[..., Any], ...]
    plain: dict[str, Callable[..., Any]]


@cache
def fused() -> Fused:
    """Empty on a CPU, where Unsloth uses the model as it is.

    Importing the GPU's part there would also rebuild TRL's trainer from its source, fail, and say so in every log.
    """
    if not has_gpu():
        return Fused((), {})
    from unsloth.kernels import apply_lora_mlp_geglu_approx, apply_lora_mlp_geglu_exact, apply_lora_mlp_swiglu
    from unsloth.models.llama import original_apply_o, original_apply_qkv

    return Fused(
        (apply_lora_mlp_swiglu, apply_lora_mlp_geglu_exact, apply_lora_mlp_geglu_approx),
        {"apply_qkv": original_apply_qkv, "apply_o": original_apply_o},
    )


@contextmanager
def base_model(loaded: Loaded) -> Iterator[None]:
    """Switch the adapter off, so that the base model answers. No weights are copied."""
    if not loaded.has_adapter:
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(loaded.model.disable_adapter())
        for module in loaded.model.modules():
            stack.enter_context(_unfused(module))
        yield


@contextmanager
def _unfused(module: Any) -> Iterator[None]:
    """Make a module compute as its class does, or as Unsloth patches it without an adapter."""
    own = module.__dict__
    replaced = {}
    for name, plain in fused().plain.items():
        if own.get(name, plain) is not plain:
            replaced[name], own[name] = own[name], plain
    for name in ("forward", "_unsloth_forward"):
        function = getattr(own.get(name), "__func__", None)
        if getattr(function, "func", function) in fused().mlps:
            replaced[name] = own[name]
            if name == "forward":
                del own[name]
            else:
                own[name] = type(module).forward
    try:
        yield
    finally:
        own.update(replaced)
