"""Asking a model leaves no trace on it, on its tokenizer or in the process."""

from __future__ import annotations

import os
from typing import Any

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest
import torch
from transformers import PreTrainedConfig

from engine.config.run_spec import RunSpec
from engine.inference.generate import generate
from engine.model import loading
from engine.prompting.prompt_format import PromptFormat
from engine.runtime.event_writer import EventWriter
from tests.helpers.engine_process import GREEDY

pytest_plugins = ["tests.helpers.proof_fixtures"]
CONTENTS = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")


def plain(value: Any) -> Any:
    """A value that can be compared: a config's content, an identity where there is nothing better."""
    if isinstance(value, PreTrainedConfig):
        return {name: plain(one) for name, one in vars(value).items()}
    return value if isinstance(value, str | int | float | bool | None) else id(value)


def traces(loaded: loading.Loaded) -> dict[str, Any]:
    """All that an answer could leave behind, by name."""
    found: dict[str, Any] = {}
    for name, module in loaded.model.named_modules():
        for key, value in vars(module).items():
            if key not in CONTENTS:
                found[f"module {name}.{key}"] = plain(value)
    for name, weight in loaded.model.named_parameters():
        found[f"weight {name}"] = (
            id(weight),
            weight.requires_grad,
            weight.dtype,
            float(weight.detach().double().sum()),
        )
        found |= {f"weight {name}.{key}": id(value) for key, value in vars(weight).items()}
    for name, buffer in loaded.model.named_buffers():
        found[f"buffer {name}"] = (buffer.dtype, tuple(buffer.shape), float(buffer.double().sum()))
    found |= {f"generation {key}": plain(one) for key, one in vars(loaded.model.generation_config).items()}
    found |= {f"tokenizer {key}": plain(one) for key, one in vars(loaded.tokenizer).items()}
    found |= {f"environment {name}": value for name, value in os.environ.items()}
    found["random"] = torch.random.get_rng_state().tolist()
    found["torch"] = (
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"),
        torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled(),
    )  # fmt: skip
    return found


@pytest.mark.parametrize("has_adapter", [False, True])
def test_whatever_inference_sets_is_put_back(has_adapter: bool, demo: RunSpec, record: EventWriter) -> None:
    loaded = loading.load(demo.model, record)
    if has_adapter:
        loading.add_adapter(loaded, demo.lora, demo.model.max_seq_length, record)
    before = traces(loaded)
    asked = [{"role": "user", "content": "Who are you?"}]
    for adapter in (False, True)[: 1 + has_adapter]:
        generate(loaded, PromptFormat("messages"), asked, GREEDY, adapter=adapter)
    after = traces(loaded)
    changed = {name: (before.get(name), after.get(name)) for name in {*before, *after}}
    assert {name: pair for name, pair in changed.items() if pair[0] != pair[1]} == {}
