"""vLLM, which writes the answers of GRPO faster. It shares the weights of the model that Unsloth loads with it."""

from typing import Any

from unsloth import import_fixes

from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.model import hardware

FIELD = "grpo.use_vllm"


def vllm_arguments(spec: RunSpec) -> dict[str, Any]:
    """What loads a model together with vLLM; empty if the spec does not ask for it. Raises `UserError`."""
    if spec.with_vllm is None:
        return {}
    if not hardware.has_gpu():
        raise UserError("vllm_unusable", say("vLLM needs a GPU: turn this off."), None, FIELD)
    if reason := import_fixes.VLLM_DISABLED_REASON:
        message = say("The installed vLLM does not run: {reason}", reason=str(reason))
        raise UserError("vllm_unusable", message, say("Turn this off to write the answers by transformers."), FIELD)
    return {
        "fast_inference": True,
        "gpu_memory_utilization": spec.with_vllm,
        "max_lora_rank": spec.lora.r,
    }


def check_loaded(model: Any, arguments: dict[str, Any]) -> None:
    """Raises `UserError` if vLLM was asked for, and Unsloth loaded the model without it."""
    if arguments and not hasattr(model, "vllm_engine"):
        message = say("Unsloth does not run this model, or this card, with vLLM: turn this off.")
        raise UserError("vllm_unusable", message, None, FIELD)
