"""Compares a merged model with what it must be: its 16-bit base with the adapter applied.

Weight by weight, in blocks of rows from the files, so that no second copy of the model is needed in memory.
"""

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import safe_open

from engine.config.local_paths import local_path

BLOCK = 1 << 24  # numbers compared at once
CHANCE = 3.0  # standard deviations of what rounding may do to the adapter's share
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class WeightsCompared:
    """`tensors`: how many were compared. `worst`: the largest difference, as a share. `where`: its tensor.

    The difference of a tensor is the RMS of the difference over the RMS of what it must be; or, if that is larger,
    the share of the adapter's change that is missing from it, beyond what rounding explains.
    """

    tensors: int
    worst: float
    where: str


class Shards:
    """The tensors in a folder's safetensors files, by name. A context manager: it keeps the files open."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._files: dict[str, Any] = {}
        for path in _weight_files(folder):
            file = self._stack.enter_context(safe_open(path, framework="pt"))
            self._files |= dict.fromkeys(file.keys(), file)

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __getitem__(self, name: str) -> Any:
        """The tensor, of which parts can be read."""
        return self._files[name].get_slice(name)


def _weight_files(folder: Path) -> list[Path]:
    index = folder / INDEX
    if index.is_file():
        return [folder / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]
    return sorted(folder.glob("*.safetensors"))


def base_weights(name: str) -> Path | None:
    """The folder with the 16-bit weights of a base model, a folder or Hub id; None if they are not on this machine.

    For a quantised Hub model: those of the model that Unsloth merges into.
    """
    if local_path(name).is_dir():
        return _in_16_bits(local_path(name))
    if folder := _in_16_bits(_cached(name)):
        return folder
    from unsloth.models.loader_utils import get_model_name

    try:
        return _in_16_bits(_cached(get_model_name(name, load_in_4bit=False)))
    except Exception:  # a name that Unsloth does not know
        return None


def _cached(name: str) -> Path | None:
    """The folder of a downloaded Hub model."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, "config.json")
    except ValueError:  # not a valid Hub id
        return None
    return Path(found).parent if isinstance(found, str) else None


def _in_16_bits(folder: Path | None) -> Path | None:
    """The folder, if its weights are complete and not quantised."""
    if folder is None:
        return None
    try:
        quantised = "quantization_config" in json.loads((folder / "config.json").read_text("utf-8"))
        files = _weight_files(folder)
    except (OSError, ValueError, LookupError):
        return None
    return folder if files and all(file.is_file() for file in files) and not quantised else None


def compare_weights(model: Any, merged: Path, base: Path) -> WeightsCompared | None:
    """Compare a merged folder with the base's weights and the PEFT model's adapter.

    None if they cannot be compared: the adapter's tensors have other names in the files, or it is no plain LoRA.
    """
    adapter = model.active_adapter
    layers = {name: one for name, one in model.base_model.model.named_modules() if isinstance(one, LoraLayer)}
    if not all(adapter in one.lora_A for one in layers.values()):
        return None
    changed = {f"{name}.weight": one for name, one in layers.items()}
    replaced = _trained_in_full(model)
    worst, where, count = 0.0, "", 0
    with Shards(merged) as made, Shards(base) as origin:
        if not all(name in made for name in (*changed, *replaced)) or not all(name in origin for name in changed):
            return None
        for name in made:
            if name not in replaced and name not in origin:
                continue  # such as a head that the base ties to its embedding
            expected = replaced[name] if name in replaced else origin[name]
            if _shape(made[name]) != _shape(expected):
                continue  # resized: a wrong size is found when the model is loaded
            layer = changed.get(name)
            share = _difference(made[name], expected, _factors(layer, adapter) if layer else None)
            count += 1
            if not share <= worst:
                worst, where = share, name
    return WeightsCompared(count, worst, where)


def compare_with_memory(model: Any, folder: Path) -> WeightsCompared:
    """Compare a folder with a model in memory, each of whose weights must be in it, unless the files name theirs
    in another way. One that is missing differs by infinity."""
    mine: dict[str, torch.Tensor] = model.state_dict()
    worst, where, count = 0.0, "", 0
    with Shards(folder) as saved:
        named_alike = all(name in mine for name in saved)
        there = {mine[name].data_ptr() for name in saved if name in mine}
        for name, weight in model.named_parameters():
            if named_alike and name not in saved and weight.data_ptr() not in there:  # not tied to another
                return WeightsCompared(count, math.inf, name)
        for name in saved:
            if name not in mine:
                continue
            share = math.inf
            if _shape(saved[name]) == _shape(mine[name]):
                share = _difference(saved[name], mine[name].detach(), None)
            count += 1
            if not share <= worst:
                worst, where = share, name
    return WeightsCompared(count, worst if count else math.inf, where)


def _trained_in_full(model: Any) -> dict[str, torch.Tensor]:
    """The trained tensors that replace those of the base, by their names in it: biases, embeddings, heads."""
    return {
        key.removeprefix("base_model.model.").replace(".base_layer.", "."): weight.detach()
        for key, weight in get_peft_model_state_dict(model).items()
        if ".lora_" not in key
    }


def _factors(layer: Any, adapter: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(A, scale times B), in 32 bits."""
    lora_a, lora_b = layer.lora_A[adapter].weight.detach(), layer.lora_B[adapter].weight.detach()
    return lora_a.float(), lora_b.float() * layer.scaling[adapter]


def _difference(made: Any, base: Any, factors: tuple[torch.Tensor, torch.Tensor] | None) -> float:
    """See `WeightsCompared`. `made`, `base`: tensors of one shape, or slices of files."""
    shape = _shape(made)
    squares = wrong = change = missing = noise = 0.0
    rows = max(1, BLOCK // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0] if shape else 1, rows):
        part: Any = slice(start, start + rows) if shape else ...
        found, before = made[part], base[part].float()
        if factors:
            lora_a, lora_b = factors
            found, before = found.to(lora_b.device), before.to(lora_b.device)
            expected = (before + lora_b[part] @ lora_a).to(found.dtype).float()
        else:
            found = found.to(before.device)
            expected = before.to(found.dtype).float()
        error = found.float() - expected
        squares += float(expected.square().sum())
        wrong += float(error.square().sum())
        if factors:  # as rounded: rounding may swallow a change
            wanted = expected - before.to(found.dtype).float()
            change += float(wanted.square().sum())
            missing += float((error * wanted).sum())
            noise += float((error * wanted).square().sum())
    apart = math.sqrt(wrong / squares) if squares else math.sqrt(wrong)
    unexplained = abs(missing) - CHANCE * math.sqrt(noise)
    return max(apart, unexplained / change) if change else apart


def _shape(tensor: Any) -> list[int]:
    return list(tensor.shape if isinstance(tensor, torch.Tensor) else tensor.get_shape())
