"""Reward models: a language model with a head that gives a text one score, as TRL's documentation builds it.

transformers, bitsandbytes and PEFT do it alone. Unsloth's CPU backend loads no such head, and with one way for both
kinds of hardware a run gives the same scores on either.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, TaskType, get_peft_model
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig
from transformers.utils.peft_utils import find_adapter_config_file
from unsloth_zoo.peft_utils import SKIP_QUANTIZATION_MODULES

from engine.config.lora import ALL_LINEAR, LoraSpec
from engine.config.run_spec import ModelSpec
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.model import hardware
from engine.prompting.format_file import read_prompt_format
from engine.prompting.prompt_format import PromptFormat, encode
from engine.protocol.state import read_state
from engine.runs.folder import RunFolder
from engine.runs.manifest import require_intact

HEADS = ("score", "classifier")  # its name in transformers' models
HEAD_SEED = 3407  # of a new head's weights: the same in each engine

Pair = tuple[str, str]  # a prompt and an answer to it


def load(spec: ModelSpec, dtype: hardware.DtypeName, adapter: Path | None) -> tuple[Any, Any]:
    """(model, tokenizer): the base model with a score head, and the adapter if there is one. Raises `UserError`."""
    name, revision = str(adapter or spec.model_name), None if adapter else spec.revision or None
    if not find_adapter_config_file(name, revision=revision):
        model, tokenizer = _load_base(name, revision, spec, dtype), _load_tokenizer(name, revision)
        _pad_alike(model, tokenizer)
        return model, tokenizer
    config = PeftConfig.from_pretrained(name, revision=revision)
    if config.task_type != TaskType.SEQ_CLS:
        message = say("The adapter {name} writes answers and has no score head: name its base model.", name=name)
        raise UserError("not_a_reward_model", message, None, "model.model_name")
    base = _load_base(str(config.base_model_name_or_path), config.revision, spec, dtype)
    tokenizer = _load_tokenizer(name, revision)
    _pad_alike(base, tokenizer)
    return PeftModel.from_pretrained(base, name, revision=revision, is_trainable=True), tokenizer


def _load_base(name: str, revision: str | None, spec: ModelSpec, dtype: hardware.DtypeName) -> Any:
    config = AutoConfig.from_pretrained(name, revision=revision, num_labels=1)
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        message = say("A {kind} model cannot become a reward model: transformers has no score head for it.",
                      kind=config.model_type)  # fmt: skip
        raise UserError("no_score_head", message, None, "model.model_name")
    torch.manual_seed(HEAD_SEED)
    return AutoModelForSequenceClassification.from_pretrained(
        name,
        config=config,
        revision=revision,
        dtype=getattr(torch, dtype),
        **_quantisation(config, spec, dtype),
        **({"device_map": {"": _device()}} if hardware.has_gpu() else {}),
    )


def _quantisation(config: Any, spec: ModelSpec, dtype: hardware.DtypeName) -> dict[str, Any]:
    """How to quantise the weights; the head stays as it is, in a model that is stored in 4 bits too."""
    stored = getattr(config, "quantization_config", None)
    if isinstance(stored, dict):
        stored["llm_int8_skip_modules"] = [*(stored.get("llm_int8_skip_modules") or ()), *SKIP_QUANTIZATION_MODULES]
        return {}
    if not (spec.load_in_4bit or spec.load_in_8bit):
        return {}
    quantised: Any = BitsAndBytesConfig
    return {
        "quantization_config": quantised(
            load_in_4bit=spec.load_in_4bit,
            load_in_8bit=spec.load_in_8bit,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
            llm_int8_skip_modules=SKIP_QUANTIZATION_MODULES,
        )
    }


def _device() -> str:
    """This process's card; torchrun starts one process for each."""
    return f"{hardware.torch_device()}:{os.environ.get('LOCAL_RANK', '0')}"


def _load_tokenizer(name: str, revision: str | None) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    if tokenizer.pad_token is None:  # as TRL
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _pad_alike(model: Any, tokenizer: Any) -> None:
    """The score is that of the last token that is no padding, so the model must know the padding."""
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id


def head_of(model: Any) -> str:
    """The name of the model's score head."""
    return next(name for name in HEADS if hasattr(model, name))


def has_trained_head(model: Any) -> bool:
    """Whether the head was loaded rather than drawn at random."""
    stored = model.config.architectures or ()
    return isinstance(model, PeftModel) or any("SequenceClassification" in name for name in stored)


def add_adapter(model: Any, spec: LoraSpec) -> Any:
    """The model with a new LoRA adapter; its score head is trained in full and saved with it."""
    torch.manual_seed(spec.random_state)
    return get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=spec.r,
            lora_alpha=spec.lora_alpha,
            lora_dropout=spec.lora_dropout,
            bias=spec.bias,
            target_modules=ALL_LINEAR if ALL_LINEAR in spec.target_modules else list(spec.target_modules),
            modules_to_save=[*spec.modules_to_save, head_of(model)],
            use_rslora=spec.use_rslora,
        ),
    )


def scores_of(model: Any, ids: Sequence[list[int]]) -> list[float]:
    """The score of each list of tokens. One at a time, so that none depends on how the others are padded."""
    training = model.training
    model.train(False)
    try:
        with torch.no_grad():
            return [_score(model, one) for one in ids]
    finally:
        model.train(training)


def _score(model: Any, ids: list[int]) -> float:
    given = torch.tensor([ids], device=model.device)
    return float(model(input_ids=given, attention_mask=torch.ones_like(given), use_cache=False).logits[0, 0])


def load_scorer(path: Path) -> Callable[[list[Pair]], list[float]]:
    """A function that scores pairs of a prompt and an answer with a reward model trained by Loris.

    `path`: the adapter's folder, or its run's. The base model is loaded in the precision recorded in the run.
    Raises `UserError`.
    """
    folder = next((one for one in (path / "adapter", path) if (one / "adapter_config.json").is_file()), None)
    if folder is None:
        raise UserError("adapter_missing", say("There is no adapter in {path}.", path=str(path)))
    require_intact(folder)
    recorded = read_state(RunFolder(folder.parent).events).model
    gpu = hardware.has_gpu()
    dtype: Any = recorded.dtype if recorded else hardware.best_dtype()
    spec = ModelSpec(load_in_4bit=bool(gpu and recorded and recorded.load_in_4bit))
    model, tokenizer = load(spec, dtype if gpu else "float32", folder)
    prompt_format = read_prompt_format(folder) or PromptFormat("messages")

    def score(pairs: list[Pair]) -> list[float]:
        texts = [prompt_format.answered_text(tokenizer, *pair) for pair in pairs]
        return scores_of(model, [encode(tokenizer, text) for text in texts])

    return score
