"""What the proof needs of a model, without its weights: the tokenizer, and the tokens that end an answer."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GenerationConfig
from unsloth.tokenizer_utils import load_correct_tokenizer

from engine.config.run_spec import ModelSpec
from engine.model.loading import unknown_tokens, with_eos
from engine.runtime.explain import explain


class TokenizerCache:
    """Loads tokenizers, and keeps the last one: most proofs are for the same model."""

    def __init__(self) -> None:
        self._key: tuple[str, str, tuple[str, ...]] | None = None
        self._cached: tuple[Any, list[int]] = (None, [])

    def get(self, model: ModelSpec) -> tuple[Any, list[int]]:
        """(the tokenizer as corrected by Unsloth, the tokens that end an answer). Raises `UserError`."""
        key = (model.model_name, model.revision, model.new_tokens)
        if key != self._key:
            try:
                tokenizer = load_correct_tokenizer(
                    model.model_name, model_max_length=model.max_seq_length, revision=model.revision or None
                )
            except Exception as error:
                raise explain(error, "model.model_name") from error
            if new := unknown_tokens(tokenizer, model.new_tokens):
                tokenizer.add_tokens(new)
            self._cached, self._key = (tokenizer, stop_ids(model, tokenizer)), key
        return self._cached

    def clear(self) -> None:
        """Load the tokenizer again next time: a chat template given by name changes it."""
        self._key = None


def stop_ids(model: ModelSpec, tokenizer: Any) -> list[int]:
    """Like `engine.model.loading.stop_ids`, but read from the files, as no model is loaded."""
    name, revision = model.model_name, model.revision or "main"
    adapter = Path(name) / "adapter_config.json"
    if adapter.is_file():
        name, revision = json.loads(adapter.read_text()).get("base_model_name_or_path") or name, "main"
    configured: Any = None
    try:
        configured = GenerationConfig.from_pretrained(name, revision=revision).eos_token_id
    except (OSError, ValueError):  # without a generation config, the model's config is used
        with suppress(OSError, ValueError):
            configured = getattr(AutoConfig.from_pretrained(name, revision=revision), "eos_token_id", None)
    return with_eos(tokenizer, configured)
