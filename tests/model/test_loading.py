"""Loading a model, and rejecting a folder without one."""

from __future__ import annotations

from pathlib import Path

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import msgspec
import pytest
import torch

from engine.config.run_spec import LoraSpec, RunSpec
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.model import hardware, loading
from engine.runtime.event_writer import EventWriter
from tests.helpers.engine_process import with_changes

pytest_plugins = ["tests.helpers.proof_fixtures"]


def test_a_folder_without_a_model_is_rejected(demo: RunSpec, record: EventWriter, tmp_path: Path) -> None:
    spec = with_changes(demo, model={"model_name": str(tmp_path)}).model
    with pytest.raises(UserError) as caught:
        loading.load(spec, record)
    assert (caught.value.code, caught.value.exit_code) == ("model_missing", 2)
    assert caught.value.field


def test_a_gpu_that_pytorch_cannot_use_stops_before_the_model_is_loaded(
    demo: RunSpec, record: EventWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hardware.has_gpu():
        pytest.skip("there is a GPU that can be used")
    monkeypatch.setattr(loading, "has_card", lambda: True)
    loaded: list[str] = []
    monkeypatch.setattr(loading.FastLanguageModel, "from_pretrained", lambda **named: loaded.append("model"))
    for problem, words in (
        (None, "that PyTorch cannot use: "),
        (say("The driver is too old."), "driver is too old"),
    ):
        monkeypatch.setattr(loading, "gpu_problem", lambda problem=problem: problem)
        with pytest.raises(UserError) as caught:
            loading.load(demo.model, record)
        assert words in str(caught.value)
        assert "--cpu" in str(caught.value.hint)
        assert (caught.value.code, caught.value.field) == ("gpu_unusable", "model.use_cpu")
    assert loaded == []
    loading.check_gpu(use_cpu=True)


@pytest.mark.parametrize(
    ("lora", "field"),
    [
        ({}, ""),
        ({"target_modules": ("all-linear",)}, ""),
        ({"target_modules": ("q_proj", "in_proj")}, ""),
        ({"modules_to_save": ("embed_tokens", "norm")}, ""),
        ({"target_modules": ("q_proj", "out_proj")}, "lora.target_modules"),
        ({"target_modules": ("o_proj",)}, "lora.target_modules"),
        ({"modules_to_save": ("lm_head",)}, "lora.modules_to_save"),
    ],
)
def test_a_layer_that_the_model_does_not_have_is_named(lora: dict[str, tuple[str, ...]], field: str) -> None:
    layers = {name: torch.nn.Linear(1, 1) for name in ("q_proj", "in_proj")}
    model = torch.nn.ModuleDict({**layers, "embed_tokens": torch.nn.Embedding(1, 1), "norm": torch.nn.LayerNorm(1)})
    spec = msgspec.structs.replace(LoraSpec(), **lora)
    if not field:
        loading.check_modules(model, spec)
        return
    with pytest.raises(UserError, match=r"linear layers are: in_proj, q_proj") as caught:
        loading.check_modules(model, spec)
    assert caught.value.field == field
