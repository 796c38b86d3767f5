"""Checks a local model folder before an engine loads it."""

import os
import re
from pathlib import Path
from typing import Any

import msgspec

from engine.config.fields import FieldError
from engine.config.local_paths import is_hub_id, is_local, local_path
from engine.config.methods import ADAPTER_GIVEN, FULL_FINETUNING
from engine.config.run_spec import ModelSpec, RunSpec
from engine.messages.message import Message, say
from engine.runs.gpu import gpu_problem

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
_BILLIONS = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)[bB](?![A-Za-z0-9])")


def check_model(model: ModelSpec) -> list[FieldError]:
    """Errors in the model's name, as far as possible without the Hub, and a GPU that it could not be loaded on."""
    errors = [FieldError("model.model_name", message)] if (message := _model_error(model.model_name)) else []
    if model.full_finetuning and not errors:
        errors += _whole_model_errors(model.model_name)
    if not model.use_cpu and (problem := gpu_problem()):
        errors.append(FieldError("model.use_cpu", problem))
    return errors


def _model_error(name: str) -> Message | None:
    if not is_local(name):
        if is_hub_id(name):
            return None
        return say("This is neither a folder on this machine nor a Hub id such as owner/name.")
    path = local_path(name)
    if not path.exists():
        return say("There is no such folder.")
    if not path.is_dir():
        return say("This is a file: a model is a folder with config.json and its weights.")
    adapter = path / "adapter_config.json"
    if adapter.exists():
        return _adapter_error(adapter)
    if not (path / "config.json").exists():
        return say("This folder is not a model: it has no config.json and no adapter_config.json.")
    if _read_object(path / "config.json") is None:
        return say("The config.json of this folder is not valid JSON.")
    if not weight_bytes(path):
        return say("This folder has a config.json and no weights. Was the download cut short?")
    return None


def _whole_model_errors(name: str) -> list[FieldError]:
    """Why not all weights of a model folder can be trained."""
    if not is_local(name):
        return []
    if (local_path(name) / "adapter_config.json").exists():
        return [FieldError(FULL_FINETUNING, ADAPTER_GIVEN)]
    if (_read_object(local_path(name) / "config.json") or {}).get("quantization_config"):
        message = say("This model is quantised: name one in 16 bits to train all of it.")
        return [FieldError("model.model_name", message)]
    return []


def _adapter_error(config: Path) -> Message | None:
    """What is wrong with an adapter folder, most often a base model that was moved."""
    values = _read_object(config)
    if values is None:
        return say("The adapter_config.json of this folder is not valid JSON.")
    base = values.get("base_model_name_or_path")
    if isinstance(base, str) and base.startswith(("/", "~")) and not local_path(base).exists():
        return say("This adapter belongs to the model in {folder}, which is not there.", folder=base)
    if not weight_bytes(config.parent):
        return say("This folder has an adapter_config.json and no weights.")
    return None


def _read_object(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def weight_bytes(folder: Path) -> int:
    """The size of the weights in a model folder, 0 when there are none."""
    try:
        return sum(e.stat().st_size for e in os.scandir(folder) if e.name.endswith(WEIGHT_SUFFIXES))
    except OSError:
        return 0


def parameters_by_name(name: str) -> float | None:
    """The number of parameters in a model's name, such as 3e9 for Llama-3.2-3B; None if there is none."""
    found = _BILLIONS.findall(name.rstrip("/").rpartition("/")[2].replace("-", " ").replace("_", " "))
    return float(found[0]) * 1e9 if found else None


def whole_run_bytes(spec: RunSpec) -> int:
    """The approximate disk space of a run that trains all weights: its checkpoints and its result. 0 if unknown."""
    model, training = spec.model, spec.training
    weights = merged_bytes(model) * (2 if model.dtype == "float32" or model.use_cpu else 1)
    kept = (
        training.save_total_limit + 1 if training.save_steps else 0
    )  # an old one goes after a new one is complete
    checkpoint = weights * (2 if "8bit" in training.optim else 3)  # with what the optimizer keeps of each weight
    return kept * checkpoint + weights


def merged_bytes(model: ModelSpec) -> int:
    """The approximate size of the merged 16-bit model: two bytes per parameter. 0 if unknown."""
    if parameters := parameters_by_name(model.model_name):
        return round(2 * parameters)
    path = local_path(model.model_name)
    if not is_local(model.model_name) or (path / "adapter_config.json").exists():
        return 0
    config = _read_object(path / "config.json") or {}
    # 4-bit weights are about four times as large in 16 bits.
    return weight_bytes(path) * (4 if config.get("quantization_config") else 1)
