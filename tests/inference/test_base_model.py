"""With the adapter off, the model is exactly the base model."""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest
from peft import PeftModel

from engine.config.run_spec import RunSpec
from engine.inference import base_model as base_models
from engine.inference import generate
from engine.inference.base_model import base_model, fused
from engine.model import loading
from engine.model.inference_mode import inference_mode
from engine.prompting.prompt_format import PromptFormat, encode
from engine.runtime.event_writer import EventWriter
from tests.helpers.engine_process import GREEDY

pytest_plugins = ["tests.helpers.proof_fixtures"]


def test_the_base_is_exact_with_the_adapter_off(demo: RunSpec, record: EventWriter) -> None:
    import torch

    plain, tuned = loading.load(demo.model, record), loading.load(demo.model, record)
    loading.add_adapter(tuned, demo.lora, demo.model.max_seq_length, record)
    with torch.no_grad():
        for name, weight in tuned.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    assert isinstance(tuned.model, PeftModel)
    ids = torch.tensor([encode(plain.tokenizer, "<s><|user|>Who are you?<|assistant|>")], device=plain.model.device)
    with torch.no_grad(), inference_mode(plain.model), inference_mode(tuned.model):
        base = plain.model(input_ids=ids).logits
        on = tuned.model(input_ids=ids).logits
        with base_model(tuned):
            off = tuned.model(input_ids=ids).logits
        again = tuned.model(input_ids=ids).logits
    assert torch.equal(base, off)
    assert torch.equal(on, again)
    assert not torch.allclose(base, on, atol=0.5)
    asked = [{"role": "user", "content": "Who are you?"}]
    state = torch.random.get_rng_state()
    answers = [
        generate.generate(loaded, PromptFormat("messages"), asked, GREEDY, adapter=False).text
        for loaded in (plain, tuned)
    ]
    assert answers[0] == answers[1]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert tuned.model.training


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(base_models, "has_gpu", lambda: True)
    fused.cache_clear()
    yield
    fused.cache_clear()


@pytest.mark.usefixtures("as_on_a_gpu")
def test_fused_lora_functions_are_off_for_the_base_model(demo: RunSpec, record: EventWriter) -> None:
    """On a GPU, Unsloth's fused layers round differently than the base model's. Here they are added by hand."""
    import torch
    from unsloth.kernels import apply_lora_mlp_swiglu, apply_lora_qkv
    from unsloth.models.llama import original_apply_qkv

    plain, tuned = loading.load(demo.model, record), loading.load(demo.model, record)
    loading.add_adapter(tuned, demo.lora, demo.model.max_seq_length, record)
    layer = tuned.model.model.model.layers[0]
    layer.self_attn.apply_qkv = apply_lora_qkv
    layer.mlp.forward = MethodType(apply_lora_mlp_swiglu, layer.mlp)
    before = layer.self_attn.apply_qkv, layer.mlp.forward
    ids = torch.tensor([encode(plain.tokenizer, "<s><|user|>Who are you?<|assistant|>")], device=plain.model.device)
    with torch.no_grad(), inference_mode(plain.model), inference_mode(tuned.model):
        with base_model(tuned):
            assert layer.self_attn.apply_qkv is original_apply_qkv
            assert layer.mlp.forward.__func__ is type(layer.mlp).forward
            off = tuned.model(input_ids=ids).logits
        base = plain.model(input_ids=ids).logits
    assert torch.equal(base, off)
    assert (layer.self_attn.apply_qkv, layer.mlp.forward) == before
