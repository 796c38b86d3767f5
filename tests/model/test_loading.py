"""Loading a model, and rejecting a folder without one."""

from __future__ import annotations

import json
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
from engine.runs import manifest
from engine.runtime.event_writer import EventWriter
from tests.helpers.engine_process import with_changes

pytest_plugins = ["tests.helpers.proof_fixtures"]


def test_a_folder_without_a_model_is_rejected(demo: RunSpec, record: EventWriter, tmp_path: Path) -> None:
    spec = with_changes(demo, model={"model_name": str(tmp_path)}).model
    with pytest.raises(UserError) as caught:
        loading.load(spec, record)
    assert (caught.value.code, caught.value.exit_code) == ("model_missing", 2)
    assert caught.value.field


def flipped(folder: Path) -> Path:
    """An adapter as Loris saves one, in which a bit has flipped since."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(bytes(64))
    manifest.write_manifest(folder)
    (folder / "adapter_model.safetensors").write_bytes(bytes(63) + b"\x01")
    return folder


@pytest.mark.parametrize("way", ["of a run", "named as a folder or trained on", "the base of an adapter"])
def test_every_load_of_a_folder_with_a_manifest_checks_it(
    way: str, demo: RunSpec, record: EventWriter, tmp_path: Path
) -> None:
    folder = flipped(tmp_path / "adapter")
    name, adapter = demo.model.model_name, None
    if way == "of a run":
        adapter = folder
    elif way == "the base of an adapter":
        above = tmp_path / "above"
        above.mkdir()
        (above / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder)}))
        name = str(above)
    else:
        name = str(folder)
    spec = with_changes(demo, model={"model_name": name}).model
    with pytest.raises(UserError) as caught:
        loading.load(spec, record, adapter)
    assert caught.value.code == "adapter_broken"
    assert str(folder) in str(caught.value.message)


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
