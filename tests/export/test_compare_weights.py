"""A merged model is compared with what it must be: the 16-bit base with the adapter applied."""

from __future__ import annotations

import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.config.run_spec import RunSpec
from engine.export import compare_weights, verify
from engine.export.compare_weights import base_weights
from engine.export.export_job import ExportJob
from engine.export.merge import base_name
from engine.messages.errors import UserError
from engine.model import loading
from engine.prompting.prompt_format import PromptFormat
from engine.runtime.event_writer import EventWriter

pytest_plugins = ["tests.helpers.proof_fixtures"]
WEIGHTS = "model.safetensors"
LAYER = "model.layers.2.self_attn.v_proj.weight"


@pytest.fixture(scope="module")
def tuned(demo: RunSpec, record: EventWriter) -> loading.Loaded:
    """The demo with an adapter that changes its answers."""
    loaded = loading.load(demo.model, record)
    loading.add_adapter(loaded, demo.lora, demo.model.max_seq_length, record)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    return loaded


@pytest.fixture(scope="module")
def good(tuned: loading.Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter merged into the base, in 16 bits."""
    folder = tmp_path_factory.mktemp("merged")
    deepcopy(tuned.model).merge_and_unload().to(torch.bfloat16).save_pretrained(folder)
    tuned.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def merged(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "merged"))


def change(folder: Path, name: str, weight: torch.Tensor) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({**weights, name: weight.to(weights[name].dtype).contiguous()}, folder / WEIGHTS, {"format": "pt"})


def compared(tuned: loading.Loaded, folder: Path) -> compare_weights.WeightsCompared:
    base = base_weights(base_name(tuned.model))
    assert base
    found = compare_weights.compare_weights(tuned.model, folder, base)
    assert found
    return found


@pytest.mark.parametrize("block", [1 << 24, 1000])
def test_a_good_merge_is_equal(
    block: int, tuned: loading.Loaded, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_weights, "BLOCK", block)
    found = compared(tuned, good)
    assert found.worst < 0.001
    assert found.tensors == len(load_file(good / WEIGHTS))


@pytest.mark.parametrize(
    ("factor", "least"),
    [(0.0, 0.8), (0.5, 0.4), (1.05, 0.04), (-1.0, 1.5)],
    ids=["none", "half", "more", "reversed"],
)
def test_an_adapter_applied_wrongly_to_one_layer_is_found(
    factor: float, least: float, tuned: loading.Loaded, merged: Path
) -> None:
    """However small its part of the weights is. `factor`: how much of the adapter's change is in the layer."""
    base = load_file(base_weights(base_name(tuned.model)) / WEIGHTS)[LAYER].float()  # type: ignore[operator]
    right = load_file(merged / WEIGHTS)[LAYER].float()
    change(merged, LAYER, base + factor * (right - base))
    found = compared(tuned, merged)
    assert found.where == LAYER
    assert found.worst > least


def test_a_change_below_the_rounding_of_16_bits_is_no_fault(
    demo: RunSpec, record: EventWriter, tmp_path: Path
) -> None:
    """The rounding swallows most of it, in every merge."""
    loaded = loading.load(demo.model, record)
    loading.add_adapter(loaded, demo.lora, demo.model.max_seq_length, record)
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=1e-4)
    deepcopy(loaded.model).merge_and_unload().to(torch.bfloat16).save_pretrained(tmp_path)
    assert compared(loaded, tmp_path).worst < 0.01


def test_a_weight_without_an_adapter_is_compared_too(tuned: loading.Loaded, merged: Path) -> None:
    name = "model.norm.weight"
    change(merged, name, load_file(merged / WEIGHTS)[name].float() * 1.02)
    assert compared(tuned, merged).where == name


class InFourBits:
    """A model whose weights in memory are rounded as coarsely as in 4 bits, which needs a GPU."""

    def __init__(self, tuned: loading.Loaded) -> None:
        self.loaded = loading.Loaded(deepcopy(tuned.model), tuned.tokenizer, tuned.dtype, load_in_4bit=True)
        with torch.no_grad():
            for name, weight in self.loaded.model.named_parameters():
                if "base_layer" in name:
                    step = weight.abs().max() / 7
                    weight.copy_((weight / step).round() * step)


def job(loaded: Any) -> ExportJob:
    return ExportJob(loaded, PromptFormat("messages"), prompts=("Who are you?",))


def test_a_quantised_model_is_not_compared_with_its_merge_but_the_16_bit_base_is(
    tuned: loading.Loaded, merged: Path
) -> None:
    message = verify.check_merged(job(InFourBits(tuned).loaded), merged, "merged_16bit")
    assert "16-bit base model and the adapter applied" in str(message)
    assert "no fault of the merge" in str(message)
    share, apart = message.values["share"], message.values["apart"]
    assert isinstance(share, float)
    assert isinstance(apart, float)
    assert share < 1
    assert apart > 10, "by its own rounding, which is told apart"


def test_a_wrong_merge_is_refused_before_it_is_loaded(tuned: loading.Loaded, merged: Path) -> None:
    base = load_file(base_weights(base_name(tuned.model)) / WEIGHTS)[LAYER]  # type: ignore[operator]
    change(merged, LAYER, base)
    with pytest.raises(UserError, match=LAYER):
        verify.check_merged(job(tuned), merged, "merged_16bit")


def test_a_merge_that_lacks_weights_is_refused(tuned: loading.Loaded, merged: Path) -> None:
    weights = load_file(merged / WEIGHTS)
    del weights["model.norm.weight"]
    save_file(weights, merged / WEIGHTS, {"format": "pt"})
    with pytest.raises(Exception, match=r"no weights for model\.norm\.weight"):
        verify.check_merged(job(tuned), merged, "merged_16bit")


def test_without_the_16_bit_base_the_words_say_so() -> None:
    message = verify.describe_loaded_back(None, 12.0, quantised=True, in_4_bits=False)
    assert "16-bit base model is not on this machine" in str(message)
    assert "with the model in memory only" in str(message)


def test_base_weights_are_those_of_a_folder_and_not_quantised(demo: RunSpec, tmp_path: Path) -> None:
    assert base_weights(demo.model.model_name) == Path(demo.model.model_name)
    assert base_weights(str(tmp_path)) is None
    (tmp_path / "config.json").write_text('{"quantization_config": {}}')
    (tmp_path / WEIGHTS).touch()
    assert base_weights(str(tmp_path)) is None
    assert base_weights("nobody/nothing") is None
