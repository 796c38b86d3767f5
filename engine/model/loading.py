"""Loads the base model through Unsloth and prepares it, with an adapter or as a whole, as the hardware allows."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch
from peft import PeftModel
from unsloth import FastLanguageModel
from unsloth_zoo.tokenizer_utils import add_new_tokens

from engine.config.local_paths import is_local
from engine.config.lora import ALL_LINEAR, FULLY_TRAINED, TARGET_MODULES
from engine.config.methods import ADAPTER_GIVEN, FULL_FINETUNING
from engine.config.run_spec import LoraSpec, ModelSpec
from engine.hub.retry import with_retries
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.model import hardware, reward_model
from engine.model.vllm import check_loaded
from engine.protocol import events as ev
from engine.runs import manifest
from engine.runs.gpu import gpu_problem, has_card
from engine.runtime.event_writer import EventWriter

# The suffix of prequantised repositories, as Unsloth names them.
QUANTISED = re.compile(r"(-unsloth)?-bnb-4bit$", re.IGNORECASE)


@dataclass
class Loaded:
    """A model with its tokenizer. `model` becomes a PEFT model once an adapter is added.

    `load_in_4bit`: whether its weights were quantised when they were loaded, in 4 bits or in 8. `has_new_tokens`:
    whether its embeddings grew, and must be trained. `scores`: whether it is a reward model. `whole`: all its
    weights are trained, without an adapter. `trained`: they are trained, or being trained, so the base is not in
    memory any more.
    """

    model: Any
    tokenizer: Any
    dtype: hardware.DtypeName
    load_in_4bit: bool
    has_new_tokens: bool = False
    scores: bool = False
    whole: bool = False
    trained: bool = False

    @property
    def has_adapter(self) -> bool:
        return isinstance(self.model, PeftModel)


def check_gpu(use_cpu: bool) -> None:
    """Raises `UserError` if this machine has a GPU, PyTorch cannot use it, and nobody asked for the processor."""
    if use_cpu or hardware.has_gpu() or not has_card():
        return
    reason = hardware.why_no_gpu()
    message = gpu_problem() or say("This machine has a GPU that PyTorch cannot use: {reason}", reason=reason)
    hint = say("Or train on the processor, which is slow: with --cpu, or with model.use_cpu in the spec.")
    raise UserError("gpu_unusable", message, hint, "model.use_cpu")


def fit_to_hardware(spec: ModelSpec, record: EventWriter) -> tuple[ModelSpec, hardware.DtypeName]:
    """(the spec with what this hardware does not support replaced, the dtype). Each change is a notice."""
    best = hardware.best_dtype()
    dtype = best if spec.dtype == "auto" else spec.dtype
    on_cpu = hardware.device().kind == "cpu"
    if (dtype == "float16" and on_cpu) or (dtype == "bfloat16" and best == "float16"):
        record.emit(
            ev.Notice(
                code="dtype_replaced",
                message=say("This hardware does not support {dtype}: using {best}.", dtype=dtype, best=best),
            )
        )
        dtype = best
    name, in_4bit, in_8bit = spec.model_name, spec.load_in_4bit, spec.load_in_8bit
    if on_cpu and QUANTISED.search(name):
        name = QUANTISED.sub("", name)
        record.emit(
            ev.Notice(
                code="model_replaced",
                message=say(
                    "{model} is quantised for GPUs: loading {plain} instead.",
                    model=spec.model_name, plain=name,
                ),
            )
        )  # fmt: skip
    elif on_cpu and (in_4bit or in_8bit):
        needs_gpu = say("Loading in 4-bit needs a GPU: loading in {dtype}.", dtype=dtype)
        if in_8bit:
            needs_gpu = say("Loading in 8-bit needs a GPU: loading in {dtype}.", dtype=dtype)
        record.emit(ev.Notice(code="4bit_replaced", message=needs_gpu))
    if on_cpu:
        in_4bit = in_8bit = False
    return msgspec.structs.replace(spec, model_name=name, load_in_4bit=in_4bit, load_in_8bit=in_8bit), dtype


def check_folder(name: str) -> None:
    """Raises `UserError` when `name` is a local folder without a model."""
    if not is_local(name):
        return
    folder = Path(name).expanduser()
    if not any((folder / file).is_file() for file in ("config.json", "adapter_config.json")):
        raise UserError(
            "model_missing",
            say("There is no model in {path}.", path=str(folder)),
            say("A model's folder contains config.json, an adapter's folder adapter_config.json."),
            "model.model_name",
        )


def check_saved(name: str, result: Path | None) -> None:
    """Raises `UserError` if what is to be loaded, an adapter's base included, differs from what Loris saved."""
    folder = result or (Path(name).expanduser() if is_local(name) else None)
    if folder is None:
        return
    resume = say("Resume the run: the result is saved again from its newest complete checkpoint.")
    manifest.require_intact(folder, resume if result else None)
    with suppress(OSError, ValueError, LookupError, TypeError):  # no adapter, or one that cannot be read
        base = json.loads((folder / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"]
        if is_local(base):
            manifest.require_intact(Path(base).expanduser())


def load(
    spec: ModelSpec,
    record: EventWriter,
    result: Path | None = None,
    *,
    scores: bool = False,
    vllm: dict[str, Any] | None = None,
) -> Loaded:
    """Load the spec's model to train it; or the result of a training, an adapter or a whole model, to answer.

    `scores`: as a reward model. `vllm`: the arguments that load it together with vLLM. Raises `UserError`.
    """
    check_gpu(spec.use_cpu)
    spec, dtype = fit_to_hardware(spec, record)
    check_folder(spec.model_name)
    check_saved(spec.model_name, result)
    if scores:
        stock = say(
            "Reward models are trained by TRL with transformers and PEFT: Unsloth's faster layers are not used."
        )
        record.emit(ev.Notice(code="stock_model", message=stock))
    whole = spec.full_finetuning
    read = reward_model.load if scores else partial(_load_with_unsloth, vllm=vllm or {})
    model, tokenizer = with_retries(lambda: read(spec, dtype, result))
    check_loaded(model, vllm or {})
    loaded = Loaded(
        model, tokenizer, dtype, spec.load_in_4bit or spec.load_in_8bit, scores=scores, whole=whole,
        trained=whole and result is not None,
    )  # fmt: skip
    if loaded.has_adapter and whole:
        raise UserError("adapter_given", ADAPTER_GIVEN, None, FULL_FINETUNING)
    if loaded.has_adapter or loaded.trained:
        pad_for_training(loaded)
    elif new := unknown_tokens(tokenizer, spec.new_tokens):
        add_new_tokens(model, tokenizer, new_tokens=new)  # as the mean of all others, to be trained
        loaded.has_new_tokens = True
    record.emit(
        ev.ModelLoaded(
            model_name=spec.model_name,
            parameters=count_parameters(model)[1],
            dtype=dtype,
            load_in_4bit=spec.load_in_4bit,
            device=hardware.device(),
            reserved_bytes=hardware.reserved_bytes(),
            chat_template=bool(getattr(tokenizer, "chat_template", None)),
            has_adapter=loaded.has_adapter,
            scores=scores,
        )
    )
    return loaded


def _load_with_unsloth(
    spec: ModelSpec, dtype: hardware.DtypeName, result: Path | None, vllm: dict[str, Any]
) -> tuple[Any, Any]:
    """(model, tokenizer)."""
    model, tokenizer = FastLanguageModel.from_pretrained(
        model_name=str(result) if result else spec.model_name,
        max_seq_length=spec.max_seq_length,
        dtype=getattr(torch, dtype),
        load_in_4bit=spec.load_in_4bit,
        load_in_8bit=spec.load_in_8bit,
        revision=None if result else spec.revision or None,
        full_finetuning=spec.full_finetuning and result is None,
        **vllm,
    )
    return model, tokenizer


def prepare_for_training(loaded: Loaded, spec: LoraSpec, max_seq_length: int, record: EventWriter) -> None:
    """Make the weights trainable that the spec trains: all of them, or those of an adapter."""
    if loaded.whole:
        train_all_weights(loaded, spec, record)
    else:
        add_adapter(loaded, spec, max_seq_length, record)
    pad_for_training(loaded)
    trainable, total = count_parameters(loaded.model)
    record.emit(ev.AdapterAdded(trainable_parameters=trainable, total_parameters=total))


def train_all_weights(loaded: Loaded, spec: LoraSpec, record: EventWriter) -> None:
    """Set a model up that was loaded with `full_finetuning`, and report in which precision its weights are kept."""
    FastLanguageModel.for_training(loaded.model, use_gradient_checkpointing=spec.use_gradient_checkpointing)
    loaded.trained = True
    dtype = str(next(loaded.model.parameters()).dtype).removeprefix("torch.")
    message = say("All weights are trained, and kept in {dtype}.", dtype=dtype)
    if dtype == "bfloat16":
        message = say(
            "All weights are trained, and kept in bfloat16. float32 is more exact, with twice the memory."
        )
    record.emit(ev.Notice(code="whole_model", message=message))


def add_adapter(loaded: Loaded, spec: LoraSpec, max_seq_length: int, record: EventWriter) -> None:
    """Add a new adapter to the model. If it was loaded with one, that one is trained further instead."""
    if loaded.has_adapter:
        if not loaded.scores:
            FastLanguageModel.for_training(loaded.model)
    elif loaded.scores:
        check_modules(loaded.model, spec)
        loaded.model = reward_model.add_adapter(loaded.model, spec)
    else:
        check_modules(loaded.model, spec)
        tied = bool(getattr(loaded.model.config, "tie_word_embeddings", False))
        in_full = trained_in_full(spec, loaded.has_new_tokens, tied)
        loaded.model = FastLanguageModel.get_peft_model(
            loaded.model,
            r=spec.r,
            target_modules=ALL_LINEAR if ALL_LINEAR in spec.target_modules else list(spec.target_modules),
            modules_to_save=in_full or None,
            # Where both ends share their weights, the trained ones must too.
            ensure_weight_tying=True if tied and set(in_full) & set(FULLY_TRAINED) else None,
            lora_alpha=spec.lora_alpha,
            lora_dropout=spec.lora_dropout,
            bias=spec.bias,
            use_gradient_checkpointing=spec.use_gradient_checkpointing,
            random_state=spec.random_state,
            max_seq_length=max_seq_length,
            use_rslora=spec.use_rslora,
            loftq_config=spec.loftq_config,
        )


def pad_for_training(loaded: Loaded) -> None:
    """Pad on the right, as Unsloth does once there is an adapter: it misses a tokenizer with another template."""
    loaded.tokenizer.padding_side = "right"


def unknown_tokens(tokenizer: Any, wanted: tuple[str, ...]) -> list[str]:
    """Those of the wanted tokens that the tokenizer does not have."""
    known = tokenizer.get_vocab()
    return [token for token in dict.fromkeys(wanted) if token not in known]


def trained_in_full(spec: LoraSpec, new_tokens: bool, tied: bool) -> list[str]:
    """The layers to train in full. New tokens need both ends of the model, or one if these share their weights."""
    needed = FULLY_TRAINED[: 1 if tied else 2] if new_tokens else ()
    return list(dict.fromkeys((*spec.modules_to_save, *needed)))


def check_modules(model: Any, spec: LoraSpec) -> None:
    """Raises `UserError` for a layer that the model does not have. The usual seven may be missing, but not all."""
    modules = dict(model.named_modules())
    named = {name: module for name, module in modules.items() if isinstance(module, torch.nn.Linear)}

    def has(wanted: str) -> bool:
        return any(name == wanted or name.endswith(f".{wanted}") for name in modules)

    def refuse(field: str, wanted: str) -> UserError:
        known = sorted({name.rpartition(".")[2] for name in named})
        message = say(
            "The model has no layer {name}. Its linear layers are: {known}.", name=wanted, known=", ".join(known)
        )
        return UserError("no_such_layer", message, None, field)

    for wanted in spec.modules_to_save:
        if not has(wanted):
            raise refuse("lora.modules_to_save", wanted)
    if ALL_LINEAR in spec.target_modules:
        return
    missing = [wanted for wanted in spec.target_modules if not has(wanted)]
    unusual = [wanted for wanted in missing if wanted not in TARGET_MODULES]
    if unusual or len(missing) == len(spec.target_modules):
        raise refuse("lora.target_modules", (unusual or missing)[0])


def count_parameters(model: Any) -> tuple[int, int]:
    """(trainable, all) parameters. Packed 4-bit weights count as two per byte."""
    trainable = total = 0
    for parameter in model.parameters():
        count = parameter.numel()
        if type(parameter).__name__ == "Params4bit":
            count = count * 2 * parameter.element_size()
        total += count
        if parameter.requires_grad:
            trainable += count
    return trainable, total


def stop_ids(loaded: Loaded) -> list[int]:
    """The tokens that end an answer: the tokenizer's EOS and those of the model's generation config."""
    config = loaded.model.config if loaded.scores else loaded.model.generation_config
    return with_eos(loaded.tokenizer, getattr(config, "eos_token_id", None))


def with_eos(tokenizer: Any, configured: Any) -> list[int]:
    """The tokenizer's EOS token and those in `configured`: one id, a list, or None."""
    found = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
    return sorted(token for token in found if token is not None)
