"""Merges adapter and base model, in 16 or 4 bits, into a temporary folder."""

import json
import shutil
from pathlib import Path
from typing import Any

from engine.export.cancellation import cancellable, run_tool
from engine.export.compare_weights import base_weights
from engine.export.export_job import ExportJob
from engine.export.plan import no_gpu
from engine.export.subprocess_env import OFFLINE
from engine.messages.errors import UserError
from engine.model.loading import QUANTISED, count_parameters
from engine.runs.checksums import CHECKSUMS
from engine.runs.disk_usage import size_of
from engine.runs.manifest import require_intact
from engine.runs.own_files import copy_own
from engine.runs.python_process import python

BUFFERS = ".buffers"  # where Unsloth puts what does not fit into the GPU's memory
ADAPTER = ".adapter"  # of a reward model, for the process that merges it
VOCABULARY = "tokenizer.model"


def export_merged_16bit(work: ExportJob, folder: Path) -> None:
    """Merge through Unsloth into `folder`. Raises `Cancelled`, or whatever the libraries raise."""
    loaded = work.loaded
    if loaded.scores:
        export_merged_scores(work, folder)
        return
    expected = 2 * count_parameters(loaded.model)[1]
    inner = getattr(loaded.tokenizer, "tokenizer", loaded.tokenizer)
    side = inner.padding_side
    work.step("merging", 0, expected, "bytes")

    def tick() -> None:
        work.step("merging", min(size_of(folder), expected), expected, "bytes")

    try:
        with cancellable(work.cancelled, tick):
            loaded.model.save_pretrained_merged(
                str(folder),
                loaded.tokenizer,
                save_method="merged_16bit",
                safe_serialization=None,  # True becomes a pickle on a machine with two cores; None does not
                temporary_location=str(folder / BUFFERS),
            )
    finally:
        inner.padding_side = side  # Unsloth changes it, and restores it only on success
        shutil.rmtree(folder / BUFFERS, ignore_errors=True)
    in_16_bits(folder)
    add_vocabulary(loaded.model, loaded.tokenizer, folder)


def export_merged_scores(work: ExportJob, folder: Path) -> None:
    """Merge a reward model, which Unsloth does not, in its own process, from 16-bit weights."""
    model, adapter = work.loaded.model, folder / ADAPTER
    expected = 2 * count_parameters(model)[1]

    def tick() -> None:
        work.step("merging", min(size_of(folder), expected), expected, "bytes")

    tick()
    name = base_name(model)
    base = str(base_weights(name) or QUANTISED.sub("", name))
    try:
        model.save_pretrained(str(adapter))
        command = python("-m", "engine.export.merge_scores", base, str(adapter), str(folder))
        run_tool(command, work.cancelled, tick=tick, environment={"CUDA_VISIBLE_DEVICES": ""})
    finally:
        shutil.rmtree(adapter, ignore_errors=True)
    work.loaded.tokenizer.save_pretrained(str(folder))
    in_16_bits(folder)


def copy_in_16_bits(work: ExportJob, model: Path, folder: Path) -> None:
    """Copy a run's whole model, 32-bit weights rounded to 16. Raises `Cancelled`, `UserError` or OSError."""
    require_intact(model)
    expected = size_of(model)

    def tick() -> None:
        work.step("copying", min(size_of(folder), expected), expected, "bytes")

    with cancellable(work.cancelled, tick):
        copy_own(model, folder)
        in_16_bits(folder)


def export_merged_4bit(work: ExportJob, merged: Path, folder: Path) -> None:
    """Quantise the 16-bit model in `merged` to bitsandbytes' 4 bits. Raises `UserError` without a GPU.

    Unsloth's own merged_4bit merges into the model in memory, which could then not chat any more; so this
    runs in its own process, from weights merged in 16 bits, which is also more exact.
    """
    if work.loaded.model.device.type != "cuda":
        raise UserError("needs_gpu", no_gpu(), None, "kind")
    expected = int(count_parameters(work.loaded.model)[1] * 0.65)

    def tick() -> None:
        work.step("quantizing", min(size_of(folder), expected), expected, "bytes", "4bit")

    tick()
    command = python("-m", "engine.export.quantize_4bit", str(merged), str(folder), work.loaded.dtype)
    run_tool(command, work.cancelled, tick=tick, environment=OFFLINE)
    for path in merged.iterdir():  # the tokenizer's files
        weights = path.suffix == ".safetensors" or path.name in (CHECKSUMS, "model.safetensors.index.json")
        if path.is_file() and not weights and not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)


def add_vocabulary(model: Any, tokenizer: Any, folder: Path) -> None:
    """Copy the base's SentencePiece vocabulary, if it has one: llama.cpp's converter needs it."""
    if (folder / VOCABULARY).exists():
        return
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    places = [getattr(inner, "vocab_file", None)]
    for name in (base_name(model), str(getattr(inner, "name_or_path", ""))):
        places.append(str(Path(name).expanduser() / VOCABULARY))
        if name and not Path(name).exists():
            places.append(_cached(name))
    for place in places:
        if place and Path(place).name == VOCABULARY and Path(place).is_file():
            shutil.copyfile(place, folder / VOCABULARY)
            return


def base_name(model: Any) -> str:
    """The folder or the Hub id that the base model came from."""
    for config in getattr(model, "peft_config", {}).values():
        if config.base_model_name_or_path:
            return str(config.base_model_name_or_path)
    return str(getattr(model.config, "_name_or_path", ""))


def _cached(name: str) -> str | None:
    """The vocabulary of a Hub model, if it was downloaded with the model."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, VOCABULARY)
    except Exception:  # not a valid Hub id
        return None
    return found if isinstance(found, str) else None


def layers_of(folder: Path) -> int:
    """The number of layers of the model in a folder; 0 when its config does not say."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return int(config.get("num_hidden_layers") or config.get("text_config", {}).get("num_hidden_layers") or 0)


def in_16_bits(folder: Path) -> None:
    """Rewrite 32-bit weights, which a model trained on a CPU has, in 16 bits."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            if not any(file.get_slice(name).get_dtype() == "F32" for name in file.keys()):  # noqa: SIM118
                continue
        weights = load_file(path)
        largest = max(float(weight.abs().max()) for weight in weights.values())
        dtype = torch.float16 if largest < torch.finfo(torch.float16).max else torch.bfloat16
        half = {name: w.to(dtype) if w.dtype == torch.float32 else w for name, w in weights.items()}
        temporary = path.with_suffix(".half")
        save_file(half, temporary, metadata)
        temporary.replace(path)
        _write_dtype(folder / "config.json", str(dtype).removeprefix("torch."))


def _write_dtype(path: Path, dtype: str) -> None:
    config = json.loads(path.read_text("utf-8"))
    for key in ("dtype", "torch_dtype"):
        if key in config:
            config[key] = dtype
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")
