"""Tiny random models of several architectures with the demo's tokenizer, written without torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.helpers.engine_process import ROOT

DEMO = ROOT / "presets/demo/model"
VOCABULARY, HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INNER = 2176, 64, 2, 4, 2, 16, 128

# Not the newest of each family: Unsloth compiles parts of those, which takes minutes.
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
    "qwen": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"},
    "gemma": {
        "architectures": ["GemmaForCausalLM"], "model_type": "gemma", "hidden_activation": "gelu_pytorch_tanh",
    },
    "mistral": {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 16},
}  # fmt: skip


def make_tiny_model(folder: Path, shape: str) -> Path:
    """A random model of one of the SHAPES in a new folder."""
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    config = json.loads((DEMO / "config.json").read_text())
    config |= {
        "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "head_dim": HEAD_DIM,
        "num_key_value_heads": KV_HEADS, "intermediate_size": INNER, "max_position_embeddings": 512,
        "dtype": "float32", **SHAPES[shape],
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    random = np.random.default_rng(3407)
    save_file(
        {
            name: random.normal(0.0, 0.1, size).astype(np.float32)
            if len(size) > 1
            else np.full(size, 0.0 if shape == "gemma" else 1.0, np.float32)  # Gemma adds one to its norms
            for name, size in _tensors(shape)
        },
        folder / "model.safetensors",
        {"format": "pt"},
    )
    return folder


def _tensors(shape: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, shape) of each tensor; the head is the embedding."""
    queries, keys = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    yield "model.norm.weight", (HIDDEN,)
    for number in range(LAYERS):
        layer = f"model.layers.{number}."
        for name, size in (("q", queries), ("k", keys), ("v", keys)):
            yield f"{layer}self_attn.{name}_proj.weight", (size, HIDDEN)
            if shape == "qwen":
                yield f"{layer}self_attn.{name}_proj.bias", (size,)
        yield f"{layer}self_attn.o_proj.weight", (HIDDEN, queries)
        for name in ("gate", "up"):
            yield f"{layer}mlp.{name}_proj.weight", (INNER, HIDDEN)
        yield f"{layer}mlp.down_proj.weight", (HIDDEN, INNER)
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{layer}{name}.weight", (HIDDEN,)
